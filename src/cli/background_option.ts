// What tells a detached daemon (background.ts) from a command line that a person typed; launch.ts says it.

/** Ends the daemon's command line, which is otherwise the one of its `add`, for whoever looks at `ps`. */
export const BACKGROUND_OPTION = "--report-ready";

/** Environment variable with the daemon's DeviceConfig, checked already, as JSON. */
export const CONFIG_VARIABLE = "HYPER_IO_REPLICA_DAEMON_CONFIG";
