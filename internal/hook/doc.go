// Package hook runs the programs by which an operator has a generation checked, made
// known to whoever uses the files, and looked after.
//
// A hook is a list of arguments that only the configuration of the host names. It runs
// without a shell, in the root directory, in a process group of its own, with no input
// and an environment that holds PATH and what Subject says alone. It is bounded in time
// and in what of its output is logged.
//
// # Promises
//
// Run returns after the hook has ended. When its time is up its whole group gets TERM,
// and KILL a little later. While it runs, Runner.Beat is called.
//
// # Caveats
//
// What a hook prints is logged, line by line: a hook that prints what files hold puts
// that into the log. What a hook that ends well leaves running in the background goes on;
// what it prints is read no more. A hook outlives an agent that is killed, and runs once
// more when that is back.
package hook
