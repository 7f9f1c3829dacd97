package lab

import (
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy stands between a client and etcd, on an address that stays the same, and does
// harm to what passes.
type Proxy struct {
	listener net.Listener
	served   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	turned *sync.Cond // what follows changed
	scheme string     // of what it leads to
	target string
	harm   Harm
	closed bool
	conns  map[net.Conn]net.Conn // of both sides; to etcd's for clients', nil for etcd's
	late   map[net.Conn]*late    // by the client's connection
	gone   map[net.Conn]bool     // etcd's, whose client ended while they go on
}

// Harm is what a proxy does to connections. The zero Harm does none.
type Harm struct {
	Away         bool // closes them, and each as soon as it is made
	HoldRequests bool // forwards nothing to etcd; connections stay open
	HoldAnswers  bool // forwards nothing from etcd
	DropAnswers  bool // throws away what etcd answers
	DropRequests bool // throws away what is sent to etcd
	// Delay is how long each piece of at most Piece bytes takes, each way.
	Delay time.Duration
	Piece int
	// Resets is the percentage of pieces at which a connection is reset.
	Resets int
}

// NewProxy starts a proxy for an etcd's endpoint. It ends with the test.
func NewProxy(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, conns: make(map[net.Conn]net.Conn), late: make(map[net.Conn]*late), gone: make(map[net.Conn]bool)}
	p.turned = sync.NewCond(&p.mu)
	p.Lead(endpoint)
	p.served.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		p.cutAll()
		p.mu.Unlock()
		p.served.Wait()
	})
	return p
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Endpoint is what clients are given.
func (p *Proxy) Endpoint() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.scheme + "://" + p.Address()
}

// Lead makes later connections go to another etcd.
func (p *Proxy) Lead(endpoint string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scheme, p.target, _ = strings.Cut(endpoint, "://")
}

// Do does harm from now on, in place of what it did. Connections of which bytes were
// thrown away are ended when that ends: what comes next would make no sense.
func (p *Proxy) Do(harm Harm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.harm
	p.harm = harm
	if harm.Away || was.DropAnswers && !harm.DropAnswers || was.DropRequests && !harm.DropRequests {
		p.cutAll()
	}
	p.turned.Broadcast()
}

// Cut ends all connections and takes no more until Heal.
func (p *Proxy) Cut() { p.Do(Harm{Away: true}) }

// Reset ends all connections once, and goes on.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAll()
}

// Connected reports whether a client is connected.
func (p *Proxy) Connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) > 0
}

// Heal forwards again.
func (p *Proxy) Heal() { p.Do(Harm{}) }

// cutAll closes all connections; p.mu is held.
func (p *Proxy) cutAll() {
	for c := range p.conns {
		c.Close()
		delete(p.conns, c) // Who holds its bytes sees that it is gone.
	}
	p.turned.Broadcast()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target, refuse := p.target, p.harm.Away || p.closed
		p.mu.Unlock()
		if refuse {
			client.Close()
			continue
		}
		etcd, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[etcd] = etcd, nil
		if p.harm.Away || p.closed {
			p.cutAll()
		}
		p.mu.Unlock()
		p.served.Go(func() { p.forward(etcd, client, false) })
		p.served.Go(func() { p.forward(client, etcd, true) })
	}
}

// forward copies until one side ends, and then ends both.
func (p *Proxy) forward(to, from net.Conn, answers bool) {
	defer func() {
		from.Close()
		p.mu.Lock()
		delete(p.conns, from)
		if !p.gone[to] {
			to.Close()
		}
		p.turned.Broadcast()
		p.mu.Unlock()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			size, ok := p.pass(from, rest, answers)
			if !ok {
				return
			}
			if size > 0 {
				if _, err := to.Write(rest[:size]); err != nil {
					return
				}
				rest = rest[size:]
				continue
			}
			rest = nil
		}
		if err != nil {
			return
		}
	}
}

// open reports whether a connection goes on; p.mu is held.
func (p *Proxy) open(c net.Conn) bool {
	_, ok := p.conns[c]
	return ok
}

// pass waits until a piece may be forwarded, and returns how many of its bytes; 0 if
// they are to be thrown away, or arrive late. ok is false if the connection ends.
func (p *Proxy) pass(from net.Conn, piece []byte, answers bool) (size int, ok bool) {
	n := len(piece)
	p.mu.Lock()
	defer p.mu.Unlock()
	for (answers && p.harm.HoldAnswers || !answers && p.harm.HoldRequests) && p.open(from) {
		p.turned.Wait()
	}
	h := p.harm
	switch {
	case !answers && p.delays(from, piece), p.gone[from]:
		return 0, true
	case !p.open(from), h.Resets > 0 && rand.IntN(100) < h.Resets:
		return 0, false
	case answers && h.DropAnswers, !answers && h.DropRequests:
		return 0, true
	}
	if h.Piece > 0 {
		n = min(n, h.Piece)
	}
	if h.Delay > 0 {
		p.mu.Unlock()
		time.Sleep(h.Delay)
		p.mu.Lock()
	}
	return n, p.open(from)
}
