//! TriggerAuthentication: where a trigger's credentials come from.
