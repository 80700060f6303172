//! See [`procession_fuzz::container_id`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::container_id);
