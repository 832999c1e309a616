//! `firewall-ctl top`: what the firewall does, live, in a terminal.
//!
//! ```text
//! source ─► sampler thread ─► Event ─► update(&mut State) ─► draw(&mut Frame, &State)
//!                 keys ───────┘
//! ```
//!
//! [`update`] and [`draw`] are pure: no clock, no file, no terminal; time arrives inside events.
//! Only [`run`] and its `terminal` module touch the outside world. Reads [`firewall_api::view::Snapshot`]
//! and nothing else of the project's state; may not
//! import the daemon, nor the engine but for what the module of the terminal asks the operating system.

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
pub(crate) use terminal::Signals;
pub use update::{Effect, Event, update};
