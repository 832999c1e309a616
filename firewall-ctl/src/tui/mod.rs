//! `firewall-ctl top`: what the firewall does, live, in a terminal.
//!
//! ```text
//! source ─► sampler thread ─► Event ─► update(&mut State) ─► draw(&mut Frame, &State)
//!                 keys ───────┘
//! ```
//!
//! [`update`] and [`draw`] are pure: no clock, no file, no terminal; time arrives inside events.
//! Only [`run`] and its `terminal` module touch the outside world. Reads [`firewall_api::view::Snapshot`]
//! and nothing else of the project's state; may not import the engine (but
//! for what `terminal` asks the operating system) or the daemon.

mod columns;
mod options;
pub mod plain;
mod render;
mod rows;
mod run;
mod spark;
mod state;
mod terminal;
mod text;
mod update;

pub use options::{Tab, TopOptions, UnknownTab};
pub use plain::once;
pub use render::{MIN_HEIGHT, MIN_WIDTH, draw};
#[doc(hidden)]
pub use run::run_drawing;
pub use run::{interactive, run};
pub use state::State;
pub use update::{Event, Flow, update};
