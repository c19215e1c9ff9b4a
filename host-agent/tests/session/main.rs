//! A guest's conversation with the agent, end to end: the real session, policy, arbiter, orders, inventory and channel
//! over machines that are only numbers; and the program itself with `--simulate`.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod paper;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod signer;

#[cfg(test)]
mod defects;
#[cfg(test)]
mod host_status;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod knowing;
#[cfg(test)]
mod leaving;
#[cfg(test)]
mod legacy;
#[cfg(test)]
mod legacy_lists;
#[cfg(test)]
mod legacy_next;
#[cfg(test)]
mod multicast;
#[cfg(test)]
mod network;
#[cfg(test)]
mod once;
#[cfg(test)]
mod power;
#[cfg(test)]
mod process;
#[cfg(test)]
mod races;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod silent;
#[cfg(test)]
mod starts;
#[cfg(test)]
mod stubborn;
#[cfg(test)]
mod unlisted;
