//! See [`procession_fuzz::command_line`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::command_line);
