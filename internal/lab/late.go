package lab

import (
	"bytes"
	"net"
)

// late is what a client sent that is still on its way.
type late struct {
	to   net.Conn // etcd's side
	sent []byte
	gone bool // the client's side has ended
}

// Delay makes what clients send on the connections of now wait until Release.
func (p *Proxy) Delay() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client, etcd := range p.conns {
		if etcd != nil && p.late[client] == nil {
			p.late[client] = &late{to: etcd}
		}
	}
}

// Delayed reports whether something that holds the word is on its way.
func (p *Proxy) Delayed(word string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.late {
		if bytes.Contains(l.sent, []byte(word)) {
			return true
		}
	}
	return false
}

// Abandon ends the clients' side of what is delayed, so that they try again on other
// connections, while their requests are still on their way.
func (p *Proxy) Abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client, l := range p.late {
		l.gone = true
		p.gone[l.to] = true
		client.Close()
	}
}

// Release lets arrive what was delayed, also for clients that are gone: what etcd answers
// them is thrown away.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client, l := range p.late {
		_, _ = l.to.Write(l.sent) // It may have ended.
		delete(p.late, client)
	}
}

// delays takes what a client sent, if that is to arrive late; p.mu is held.
func (p *Proxy) delays(client net.Conn, sent []byte) bool {
	l := p.late[client]
	if l != nil {
		l.sent = append(l.sent, sent...)
	}
	return l != nil
}
