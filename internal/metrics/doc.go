// Package metrics tells a monitoring system what a daemon is at, over HTTP: figures for
// Prometheus at /metrics, whether the daemon lives at /healthz, whether all that it keeps
// is good at /readyz, and profiles at /debug/pprof/ where they are asked for.
//
// # Promises
//
// Nothing is done for figures that nobody asks for but counting, and nothing that happens
// here keeps a file from being replicated: an address that cannot be had is told and
// tried again. Contents of files appear nowhere. Only GET and HEAD are answered. The
// labels tenant and dir have as many values as the configuration has sources and targets.
//
// # Caveats
//
// The text format is written here, after
// https://prometheus.io/docs/instrumenting/exposition_formats/, and judged in the tests by
// Prometheus's own parser and linter: linked into the program, client_golang would take
// over a megabyte of an idle agent's memory, asked or not. Times that two machines have
// measured are compared as they are, and negative ones count as 0. Whoever reaches the
// address reads names of tenants and directories; there are neither users nor TLS.
package metrics
