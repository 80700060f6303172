//! See [`procession_fuzz::field_paths`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::field_paths);
