//! What is answered and done in every state that a target can be in: the real session, policy, arbiter, orders and state
//! table over a scripted hypervisor, compared with a table that people have read (`expected.txt`).

#[cfg(test)]
#[path = "../session/clock.rs"]
mod clock;
#[cfg(test)]
#[path = "../session/guest.rs"]
#[expect(dead_code, reason = "the tests of whole conversations use the rest of it")]
mod guest;

#[cfg(test)]
mod invariants;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod script;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod table;
