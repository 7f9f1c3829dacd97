package metrics

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/logging"
)

const (
	// listenAgain is how soon an address that could not be had is tried again.
	listenAgain = 5 * time.Second
	// profileMost is the longest profile of the processor.
	profileMost = time.Minute
	// endWithin is how long answers in hand may take when the server ends.
	endWithin = time.Second
)

// Options are what a server answers from.
type Options struct {
	// Text returns the figures, in the text format.
	Text func() []byte
	// Alive returns why the daemon is taken for stuck; nil if it is not.
	Alive func() error
	// Ready reports whether all that the daemon keeps is good, and says of each in a line
	// what it is at.
	Ready func() (lines []string, ready bool)
	Log   hclog.Logger
}

// Listening says where a server answers.
type Listening struct {
	Address string // host and port; empty: nowhere
	Profile bool   // profiles are given, too
	// Key is the configuration's, for messages.
	Key string
}

// Server answers over HTTP.
type Server struct {
	options Options
	changed chan struct{} // capacity 1; holds a token when want may have changed; never closed
	trouble *logging.Episode
	again   time.Duration // listenAgain, but in tests

	mu   sync.Mutex // guards want
	want Listening
}

// NewServer returns a server that listens nowhere yet.
func NewServer(o Options) *Server {
	return &Server{options: o, changed: make(chan struct{}, 1), again: listenAgain, trouble: logging.NewEpisode(o.Log, "listening for monitoring")}
}

// Listen says where to answer from now on, and may be called before Run and while it runs.
func (s *Server) Listen(where Listening) {
	s.mu.Lock()
	s.want = where
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Server) wanted() Listening {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want
}

// Run answers until ctx ends, then returns nil. An address that cannot be had is told in
// the log, and tried again.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		where := s.wanted()
		if where.Address == "" {
			_ = s.wait(ctx, where, nil)
			continue
		}
		if err := s.serve(ctx, where); err != nil && ctx.Err() == nil {
			s.trouble.Failed(err, "address", where.Address, "remedy", "write another into "+where.Key)
			again, cancel := context.WithTimeout(ctx, s.again)
			_ = s.wait(again, where, nil)
			cancel()
		}
	}
	return nil
}

// wait waits until something else is wanted or ctx ends, and returns nil, or until failed
// holds an error, and returns that.
func (s *Server) wait(ctx context.Context, where Listening, failed <-chan error) error {
	for s.wanted() == where {
		select {
		case <-s.changed:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// serve answers until something else is wanted or ctx ends. It returns why it cannot.
func (s *Server) serve(ctx context.Context, where Listening) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", where.Address)
	if err != nil {
		return err
	}
	s.trouble.Ended()
	s.options.Log.Info("listening for monitoring", "address", listener.Addr().String(), "pprof", where.Profile)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler: s.handler(where.Profile), Protocols: &protocols,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: profileMost + 10*time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       s.options.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		// A profile that is being made ends with the server.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if err := s.wait(ctx, where, ended); err != nil {
		return errors.Join(err, server.Close())
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		_ = server.Close() // What does not end in time has nobody who waits for it.
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
