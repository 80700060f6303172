//! See [`procession_fuzz::file_names`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::file_names);
