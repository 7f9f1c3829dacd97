package store_test

import (
	"bytes"
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
	conns  map[net.Conn]net.Conn // of both sides; to etcd's for clients', nil for etcd's
	to     map[net.Conn]net.Conn // etcd's side of clients' that may be late
	late   map[net.Conn][]byte   // clients', with what they sent that waits for release
	gone   map[net.Conn]bool     // clients', which ended while etcd's side goes on
}

// newProxy starts a proxy for an etcd's endpoint. It ends with the test.
func newProxy(t *testing.T, endpoint string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, conns: make(map[net.Conn]net.Conn), to: make(map[net.Conn]net.Conn), late: make(map[net.Conn][]byte), gone: make(map[net.Conn]bool)}
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
	for c, etcd := range p.conns {
		if etcd != nil {
			p.late[c], p.to[c] = nil, etcd
		}
	}
}

// delayed reports whether something that holds the word is on the way.
func (p *proxy) delayed(word string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sent := range p.late {
		if bytes.Contains(sent, []byte(word)) {
			return true
		}
	}
	return false
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
	p.arrive()
}

// arrive forwards what was delayed; p.mu is held.
func (p *proxy) arrive() {
	for c, sent := range p.late {
		_, _ = p.to[c].Write(sent) // It may have ended.
	}
	clear(p.late)
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
	p.arrive()
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
		p.conns[client], p.conns[etcd] = etcd, nil
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
		for p.held && !p.closed {
			p.turned.Wait()
		}
		if sent, late := p.late[from]; late {
			p.late[from], n = append(sent, buf[:n]...), 0
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
