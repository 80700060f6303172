//! See [`procession_fuzz::pod`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::pod);
