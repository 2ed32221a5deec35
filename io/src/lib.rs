//! OuroborosDB on the real machine: the adapters through which the engine meets files, time, entropy and threads.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod lock;
pub mod pool;
