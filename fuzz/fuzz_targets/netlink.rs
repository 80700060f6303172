//! See [`procession_fuzz::netlink`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::netlink);
