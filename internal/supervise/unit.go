package supervise

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/confsyncd/confsyncd/internal/logging"
)

// The pauses between two runs of a service that ends with errors, doubled each time.
const (
	pauseFirst = time.Second
	pauseLast  = 30 * time.Second
)

// errEnded is what a task's end without an error is taken for.
var errEnded = errors.New("it ended by itself")

// unit is a service that runs, or is about to run again.
type unit struct {
	service Service
	cancel  context.CancelFunc
	ended   chan struct{} // closed by its goroutine, at its end
	// tell is called without the lock when something has changed; failing when a run
	// ended with an error.
	tell, failing func()

	mu    sync.Mutex // guards what follows
	is    health
	look  func() // of the present run
	begun bool   // the present run came to its first beat
}

// health is what is known of one unit.
type health struct {
	status string
	ready  bool
	good   bool      // as the present run has told last
	begun  bool      // some run came to its first beat
	beat   time.Time // the last one
	idle   bool      // between two runs, or ended: no beats are to be expected
	err    error     // of the last run, until one has begun again
	final  error     // of the run that was told to end
}

// start starts the unit's goroutine, which ends with ctx or by cancel.
func (u *unit) start(ctx context.Context) {
	ctx, u.cancel = context.WithCancel(ctx)
	u.ended, u.is.beat = make(chan struct{}), time.Now()
	go u.run(ctx)
}

func (u *unit) run(ctx context.Context) {
	defer close(u.ended)
	troubles := logging.NewEpisode(u.service.Log, "running")
	pause := pauseFirst
	for {
		err := u.once(ctx)
		if ctx.Err() != nil {
			u.over(err)
			return
		}
		if err == nil {
			err = errEnded
		}
		if u.failed(err) {
			troubles.Ended()
			pause = pauseFirst
		}
		select {
		case <-time.After(pause):
			// Only now, as the supervisor may have taken the error for the end of all.
			troubles.Failed(err)
			pause = min(2*pause, pauseLast)
		case <-ctx.Done():
			return
		}
	}
}

// once makes one run.
func (u *unit) once(ctx context.Context) error {
	u.mu.Lock()
	u.is.beat, u.is.idle, u.is.good, u.begun = time.Now(), false, false, false
	u.mu.Unlock()
	task, err := u.service.New(Hooks{Beat: u.beats, Ready: u.ready, Good: u.good, Status: u.status})
	if err != nil {
		return err
	}
	u.mu.Lock()
	u.look = task.Look
	u.mu.Unlock()
	return task.Run(ctx)
}

// over notes what a run that was told to end returned.
func (u *unit) over(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.is.idle = true
	if !errors.Is(err, context.Canceled) {
		u.is.final = err
	}
}

// failed notes that a run ended with err, and reports whether it had begun.
func (u *unit) failed(err error) bool {
	u.mu.Lock()
	begun := u.begun
	u.is.err, u.is.idle, u.look = err, true, nil
	u.mu.Unlock()
	u.failing()
	u.tell()
	return begun
}

func (u *unit) beats() {
	u.mu.Lock()
	first := !u.begun
	u.is.beat, u.begun = time.Now(), true
	if first {
		u.is.err, u.is.begun = nil, true
	}
	u.mu.Unlock()
	if first {
		u.tell()
	}
}

func (u *unit) ready() {
	u.mu.Lock()
	u.is.ready = true
	u.mu.Unlock()
	u.tell()
}

func (u *unit) good(is bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.is.good = is
}

func (u *unit) status(words string) {
	u.mu.Lock()
	same := u.is.status == words
	u.is.status = words
	u.mu.Unlock()
	if !same {
		u.tell()
	}
}

// lookNow makes the present run look, if there is one.
func (u *unit) lookNow() {
	u.mu.Lock()
	look := u.look
	u.mu.Unlock()
	if look != nil {
		look()
	}
}

func (u *unit) health() health {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.is
}
