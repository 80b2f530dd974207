//! What a terminal shows while a simulation runs.
