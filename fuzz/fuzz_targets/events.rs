//! See [`procession_fuzz::events`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::events);
