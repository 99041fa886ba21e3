//! Store and log, as written.

use crate::config::record::record;
use crate::config::scalars::{FilePath, PostgresUrl, Size, Timeout, choice};

record! {
    /// Where callbacks are kept.
    struct Store {
        /// The embedded store's file, with a folder of segments beside it. In a cluster, the place where
        /// callbacks wait while the shared store is down. Relative to the working directory.
        path: FilePath = "data/gateway.db",
        /// `postgresql://user:password@host:5432/db`: the store that all replicas share, PostgreSQL 13 or newer.
        /// `?sslmode=verify-full` insists on TLS, `&sslrootcert=FILE` names authorities besides the system's. Empty:
        /// this process has its store to itself.
        postgres: Option<PostgresUrl> = "",
        /// This replica's name in the cluster, unique in it.
        replica: String = "${HOSTNAME:-gateway}",
        /// How long events are kept. Dead letters are kept 30 days.
        retention: Timeout = "7d",
        /// Most bytes on disk: a warning at 80 %; when full, callbacks are refused with -50001.
        max_size: Size = "20GiB",
    }

    /// Logs.
    struct Log {
        /// How lines look: `text` for people, `json` for machines.
        format: LogFormat = "text",
        /// The least severe level that is written: `trace`, `debug`, `info`, `warn` or `error`.
        level: LogLevel = "info",
        /// Whether each request has its line.
        access: bool = "true",
        /// Whether phone numbers are masked in logs and API: `138****8000`.
        mask_numbers: bool = "true",
    }
}

choice! {
    /// How log lines look.
    "log format" enum LogFormat {
        /// For people.
        Text = "text",
        /// An object a line.
        Json = "json",
    }

    /// The least severe level that is written.
    "log level" enum LogLevel {
        /// Everything.
        Trace = "trace",
        /// What helps with finding faults.
        Debug = "debug",
        /// What happens.
        Info = "info",
        /// What may need attention.
        Warn = "warn",
        /// What went wrong.
        Error = "error",
    }
}
