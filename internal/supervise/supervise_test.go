package supervise

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// lab is a supervisor of tasks that note what becomes of them.
type lab struct {
	t    *testing.T
	s    *Supervisor
	set  Set
	err  error // of the next load
	stop context.CancelFunc
	end  chan error

	mu   sync.Mutex // guards what follows
	log  []string
	hook map[string]Hooks // of the run that goes on
	fail map[string]error // what runs end with
	slow map[string]time.Duration
}

func newLab(t *testing.T) *lab {
	return &lab{t: t, hook: map[string]Hooks{}, fail: map[string]error{}, slow: map[string]time.Duration{}, end: make(chan error, 1)}
}

func (l *lab) service(name string, settings any) Service {
	return Service{Name: name, Settings: settings, Log: hclog.NewNullLogger(), New: func(h Hooks) (Task, error) {
		return Task{
			Run: func(ctx context.Context) error {
				if err := l.begin(name, h); err != nil {
					return err
				}
				h.Beat()
				<-ctx.Done()
				time.Sleep(l.slow[name])
				l.note("-" + name)
				return nil
			},
			Look: func() { l.note("look " + name) },
		}, nil
	}}
}

func (l *lab) begin(name string, h Hooks) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fail[name]; err != nil {
		return err
	}
	l.log, l.hook[name] = append(l.log, "+"+name), h
	return nil
}

func (l *lab) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, what)
}

// fails sets what runs end with.
func (l *lab) fails(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail[name] = err
}

func (l *lab) run(services ...Service) {
	l.s = New(Options{First: Set{Services: services}, Load: func() (Set, error) { return l.set, l.err }})
	ctx, cancel := context.WithCancel(l.t.Context())
	l.stop = cancel
	go func() { l.end <- l.s.Run(ctx) }()
	synctest.Wait()
}

func (l *lab) reload(services ...Service) {
	l.set = Set{Services: services, Settled: func() { l.note("settled") }}
	l.s.Reload()
	synctest.Wait()
}

// happened demands what happened since it was asked last. Where services begin at
// once, in any order.
func (l *lab) happened(want string) {
	l.t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.log)
	if got := strings.Join(l.log, " "); got != want {
		l.t.Errorf("happened %q, want %q", got, want)
	}
	l.log = nil
}

func (l *lab) finish() {
	l.t.Helper()
	l.stop()
	if err := <-l.end; err != nil {
		l.t.Errorf("Run ended with %v", err)
	}
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.run(l.service("a", 1), l.service("b", []string{"x"}))
		l.happened("+a +b")
		l.reload(l.service("a", 1), l.service("b", []string{"x"}))
		l.happened("settled")
		l.reload(l.service("a", 2), l.service("b", []string{"x"}), l.service("c", 1))
		l.happened("+a +c -a settled")
		l.err = errors.New("faults")
		l.reload()
		l.happened("")
		l.err = nil
		l.reload(l.service("c", 1))
		l.happened("-a -b settled")
		l.s.Look()
		l.happened("look c")
		l.finish()
		l.happened("-c")
	})
}

func TestReloadWaitsForTheApplyInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.slow["a"] = time.Minute
		l.run(l.service("a", 1))
		l.happened("+a")
		l.reload(l.service("a", 2))
		l.happened("")
		time.Sleep(30 * time.Second)
		l.s.mu.Lock()
		old := time.Since(l.s.beat)
		l.s.mu.Unlock()
		if old > beatEvery {
			t.Errorf("the supervisor has not moved for %v", old)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		l.happened("+a -a settled")
		l.slow["a"] = 0
		l.finish()
	})
}

func TestFailures(t *testing.T) {
	away := errors.New("away")
	t.Run("all at the start end it at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			l.fail["a"], l.fail["b"] = away, errors.New("locked")
			begin := time.Now()
			l.run(l.service("a", 1), l.service("b", 1))
			if err := <-l.end; !errors.Is(err, away) || err.Error() != "away\nlocked" || time.Since(begin) > 0 {
				t.Errorf("Run returned %v after %v", err, time.Since(begin))
			}
			l.stop()
		})
	})
	t.Run("one is tried again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			l.fail["a"] = away
			l.run(l.service("a", 1), l.service("b", 1))
			l.happened("+b")
			l.hook["b"].Ready()
			h := l.s.Health()
			if !h.Ready || !errors.Is(h.Services[0].Err, away) || h.Services[1].Err != nil {
				t.Errorf("health %+v", h)
			}
			time.Sleep(time.Hour)
			l.fails("a", nil)
			time.Sleep(pauseLast)
			l.happened("+a")
			if h := l.s.Health(); h.Services[0].Err != nil {
				t.Errorf("health %+v", h)
			}
			l.finish()
		})
	})
	t.Run("after a reload nothing ends it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			l.run(l.service("a", 1))
			l.fails("a", away)
			l.reload(l.service("a", 2))
			time.Sleep(time.Hour)
			l.happened("+a -a settled")
			l.finish()
		})
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.run(l.service("a", 1), l.service("b", 1))
		l.hook["a"].Ready()
		if l.s.Health().Ready {
			t.Error("ready without b")
		}
		l.hook["b"].Ready()
		l.hook["b"].Status("fine")
		l.hook["b"].Good(true)
		if h := l.s.Health(); !h.Ready || h.Services[1] != (ServiceHealth{Name: "b", Good: true, Status: "fine"}) {
			t.Errorf("health %+v", h)
		}
		for range 12 {
			time.Sleep(10 * time.Second)
			l.hook["a"].Beat()
		}
		synctest.Wait()
		if age := time.Since(l.s.Health().Beat); age != 2*time.Minute {
			t.Errorf("b has not moved for two minutes, and the last sign of life is %v old", age)
		}
		l.finish()
	})
}
