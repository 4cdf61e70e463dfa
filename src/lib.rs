//! Bare-metal provisioning: a request and a machine become a plan, the plan becomes an installed system.
