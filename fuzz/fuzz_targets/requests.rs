//! See [`procession_fuzz::requests`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::requests);
