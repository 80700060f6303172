//! See [`procession_fuzz::machine_files`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::machine_files);
