//! See [`procession_fuzz::render`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::render);
