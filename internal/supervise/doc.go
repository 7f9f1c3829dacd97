// Package supervise runs a set of services, such as the publishers of all sources, and
// keeps the set equal to a configuration that may be read again.
//
// # Promises
//
// Services that a new configuration does not change are not disturbed. Those that it
// changes or drops are told to end and waited for before anything new is started, so
// that two never work on one directory. A configuration with faults changes nothing.
//
// A service that ends with an error is tried again, with growing pauses, while the
// others go on. Only where none could ever begin does the whole end, with their errors:
// what was wrong from the start is told at once.
//
// # Caveats
//
// Nothing here ends a service that is stuck: Health tells who has not moved, and the
// service manager's watchdog acts on that.
package supervise
