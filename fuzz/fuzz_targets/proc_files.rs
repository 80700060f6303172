//! See [`procession_fuzz::proc_files`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::proc_files);
