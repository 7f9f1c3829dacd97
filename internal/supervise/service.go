package supervise

import (
	"context"

	"github.com/hashicorp/go-hclog"
)

// Service is one thing to run.
type Service struct {
	// Name tells it from the others of its set.
	Name string
	// Settings are all that it is made of, compared by reflect.DeepEqual: with other
	// settings it is another service.
	Settings any
	// New makes it for one run.
	New func(Hooks) (Task, error)
	Log hclog.Logger
}

// Task is one run of a service.
type Task struct {
	// Run blocks until ctx ends, and returns nil then.
	Run func(ctx context.Context) error
	// Look makes it look at all that it works on now.
	Look func()
}

// Hooks are what a task tells. They may be called from any goroutine.
type Hooks struct {
	// Beat tells that it is not stuck. The first one tells that it has begun.
	Beat func()
	// Ready tells that it has done what others wait for at the start.
	Ready func()
	// Good tells whether what it keeps is in order, or was and stays so while it waits.
	Good func(bool)
	// Status tells what it is at, in a few words for a person.
	Status func(string)
}

// Set is what is to run.
type Set struct {
	Services []Service
	// Settled is called, if it is set, when all that is not in the set has ended.
	Settled func()
}

// Options say what is supervised.
type Options struct {
	// First is what runs at the start.
	First Set
	// Load reads the configuration again. After an error, which Load has told, nothing
	// changes.
	Load func() (Set, error)
	// Reloading and Reloaded are called, if they are set, around each reload.
	Reloading, Reloaded func()
}
