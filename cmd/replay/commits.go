package main

import (
	"bytes"
	"encoding/json"
	"sync"
)

// commits reads a publisher's log, in JSON, and remembers the generations that were
// committed.
type commits struct {
	rest []byte // a line that is not complete yet; only Write touches it

	mu          sync.Mutex
	generations []uint64 // guarded by mu
}

// Write takes the log as it comes.
func (c *commits) Write(b []byte) (int, error) {
	c.rest = append(c.rest, b...)
	for {
		line, rest, complete := bytes.Cut(c.rest, []byte("\n"))
		if !complete {
			return len(b), nil
		}
		c.rest = rest
		var m struct {
			Message    string `json:"@message"`
			Generation uint64 `json:"generation"`
		}
		if json.Unmarshal(line, &m) == nil && m.Message == "committed" {
			c.mu.Lock()
			c.generations = append(c.generations, m.Generation)
			c.mu.Unlock()
		}
	}
}

// take returns the generations committed since it was last called.
func (c *commits) take() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.generations
	c.generations = nil
	return g
}

// any reports whether take would return any.
func (c *commits) any() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.generations) > 0
}
