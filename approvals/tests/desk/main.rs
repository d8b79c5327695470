//! The program as it runs: started, asked, killed, started again.

mod api;
mod failure;
mod world;
