package store_test

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// proxy stands between a client and etcd, on an address that stays the same.
type proxy struct {
	listener net.Listener
	served   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	turned *sync.Cond // away or held changed
	target string
	away   bool // connections are closed as soon as they are made
	held   bool // nothing is forwarded, to either side
	mute   bool // what etcd answers is thrown away
	closed bool
	conns  map[net.Conn]bool // of both sides; true for clients'
	late   map[net.Conn]bool // clients', whose requests wait for release
	gone   map[net.Conn]bool // clients', which ended while etcd's side goes on
}

// newProxy starts a proxy for an etcd's endpoint. It ends with the test.
func newProxy(t *testing.T, endpoint string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, conns: make(map[net.Conn]bool), late: make(map[net.Conn]bool), gone: make(map[net.Conn]bool)}
	p.turned = sync.NewCond(&p.mu)
	p.lead(endpoint)
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

// endpoint is what clients are given.
func (p *proxy) endpoint() string { return "http://" + p.listener.Addr().String() }

// lead makes later connections go to another etcd.
func (p *proxy) lead(endpoint string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = strings.TrimPrefix(endpoint, "http://")
}

// cut ends all connections and takes no more until heal.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = true
	p.cutAll()
}

// hold stops forwarding, while connections stay open, until heal or cut.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

// swallow throws away what etcd answers, until heal.
func (p *proxy) swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

// delay makes what is sent on the connections of now wait until release or heal.
func (p *proxy) delay() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, client := range p.conns {
		if client {
			p.late[c] = true
		}
	}
}

// abandon ends the clients' side of what is delayed, so that they try again on other
// connections, while their requests are still on the way.
func (p *proxy) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.late {
		p.gone[c] = true
		c.Close()
	}
}

// release lets arrive what was delayed.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.late)
	p.turned.Broadcast()
}

// heal forwards again. Connections whose answers were thrown away are ended: what
// comes next would make no sense.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mute {
		p.cutAll()
	}
	p.away, p.held, p.mute = false, false, false
	clear(p.late)
	p.turned.Broadcast()
}

// cutAll closes all connections; p.mu is held.
func (p *proxy) cutAll() {
	for c := range p.conns {
		c.Close()
	}
	p.held = false
	clear(p.late)
	p.turned.Broadcast()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target, refuse := p.target, p.away || p.closed
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
		p.conns[client], p.conns[etcd] = true, false
		if p.away || p.closed {
			p.cutAll()
		}
		p.mu.Unlock()
		p.served.Go(func() { p.forward(etcd, client, false) })
		p.served.Go(func() { p.forward(client, etcd, true) })
	}
}

// forward copies until one side ends, and then ends both, unless what a client sent is to
// arrive without it.
func (p *proxy) forward(to, from net.Conn, answers bool) {
	defer func() {
		p.mu.Lock()
		delete(p.conns, from)
		goesOn := p.gone[from] && !p.closed
		p.mu.Unlock()
		from.Close()
		if !goesOn {
			to.Close()
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for (p.held || p.late[from]) && !p.closed {
			p.turned.Wait()
		}
		drop := answers && (p.mute || p.gone[to])
		p.mu.Unlock()
		if n > 0 && !drop {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
