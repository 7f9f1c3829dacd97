package codec

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/confsyncd/confsyncd/internal/codec/wirepb"
	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// MainChannel is the channel that agents follow unless they are told otherwise.
	MainChannel = "main"
	// MaxChannels is how many channels a tenant may have.
	MaxChannels = 16
	// MaxChannelName bounds the name of a channel in bytes.
	MaxChannelName = 63
	// MaxSelectors is how many selectors a rollout may have under way.
	MaxSelectors = 16
	// MaxLabel bounds a selector's label in bytes.
	MaxLabel = 127
)

// Channel points to the generation that the agents of its name follow.
type Channel struct {
	Name       string
	Generation uint64
	Commit     diff.Hash
}

// Ahead lets some hosts of a channel follow another generation than the channel.
type Ahead struct {
	Channel    string
	Generation uint64
	Commit     diff.Hash
	// Hosts selects them: a host is ahead if any selector has it.
	Hosts []Selector
}

// AllParts is how many parts all hosts are: fine enough to tell single ones apart.
const AllParts = 10_000

// Selector has a share of the hosts with a label.
type Selector struct {
	Label string // "key=value"; empty: all hosts
	Parts uint32 // of them, in parts of AllParts, by a stable hash of their ids
}

// CheckChannel returns an error that says what is allowed, unless name can be a channel's.
func CheckChannel(name string) error {
	for i := range len(name) {
		c := name[i]
		alphanumeric := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alphanumeric && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return fmt.Errorf("%.80q is no name of a channel: use a-z, 0-9, '.', '_' and '-', beginning with a letter or digit", name)
		}
	}
	if name == "" || len(name) > MaxChannelName {
		return fmt.Errorf("%.80q is no name of a channel: use 1 to %d characters", name, MaxChannelName)
	}
	return nil
}

// Position returns what the channel points to, of the tenant of that id.
func (c Channel) Position(tenant diff.TenantID) diff.Position {
	return diff.Position{Tenant: tenant, Generation: c.Generation, Commit: c.Commit}
}

// AllChannels returns every channel of the tenant, also the one that a head without any
// stands for, in the order of their names.
func (h Head) AllChannels() []Channel {
	if len(h.Channels) > 0 {
		return slices.Clone(h.Channels)
	}
	return []Channel{{Name: MainChannel, Generation: h.Position.Generation, Commit: h.Position.Commit}}
}

// WithChannels returns the head with the given channels and rollout, in any order, in the one
// form that is stored: a rollout that its channel has reached is over, and a MainChannel at the
// head, alone, goes without saying.
func (h Head) WithChannels(channels []Channel, ahead *Ahead) Head {
	channels = slices.Clone(channels)
	slices.SortFunc(channels, func(a, b Channel) int { return strings.Compare(a.Name, b.Name) })
	h.Channels, h.Ahead = channels, ahead
	if ahead != nil {
		if at, ok := h.On(ahead.Channel); !ok || at.Generation >= ahead.Generation {
			h.Ahead = nil
		}
	}
	main := Channel{Name: MainChannel, Generation: h.Position.Generation, Commit: h.Position.Commit}
	if slices.Equal(channels, []Channel{main}) {
		h.Channels = nil
	}
	return h
}

// Follow returns what a host is to follow on a channel: the rollout under way if it selects
// the host, else the channel. ok is false if there is no such channel.
func (h Head) Follow(channel, host string, labels map[string]string) (at diff.Position, ok bool) {
	at, ok = h.On(channel)
	if a := h.Ahead; ok && a != nil && a.Channel == channel && a.Generation > at.Generation && a.Selects(h.Position.Tenant, host, labels) {
		at.Generation, at.Commit = a.Generation, a.Commit
	}
	return at, ok
}

// Selects reports whether a host is among those that are ahead.
func (a *Ahead) Selects(tenant diff.TenantID, host string, labels map[string]string) bool {
	return slices.ContainsFunc(a.Hosts, func(s Selector) bool { return s.Selects(tenant, host, labels) })
}

// Selects reports whether the selector has a host.
func (s Selector) Selects(tenant diff.TenantID, host string, labels map[string]string) bool {
	return s.Has(labels) && Share(tenant, host) < s.Parts
}

// Has reports whether a host with such labels is one of those that the selector takes its
// share of.
func (s Selector) Has(labels map[string]string) bool {
	key, value, _ := strings.Cut(s.Label, "=")
	got, ok := labels[key]
	return s.Label == "" || ok && got == value
}

// Share returns a number below AllParts that is a host's for as long as the tenant lives: a
// selector of n parts has the hosts whose number is below n, and so one of more parts has
// them too. It comes from SHA-256 over the tenant's id and the host's.
func Share(tenant diff.TenantID, host string) uint32 {
	sum := sha256.Sum256(slices.Concat([]byte("confsyncd share 1\n"), tenant[:], []byte(host)))
	return uint32(binary.BigEndian.Uint64(sum[:8]) % AllParts)
}

// On returns where a channel is; ok is false if there is none of that name. A tenant without
// any has MainChannel, at its newest generation.
func (h Head) On(channel string) (at diff.Position, ok bool) {
	if len(h.Channels) == 0 && channel == MainChannel {
		return h.Position, true
	}
	i, ok := slices.BinarySearchFunc(h.Channels, channel, func(c Channel, name string) int { return strings.Compare(c.Name, name) })
	if !ok {
		return diff.Position{}, false
	}
	return diff.Position{Tenant: h.Position.Tenant, Generation: h.Channels[i].Generation, Commit: h.Channels[i].Commit}, true
}

// checkChannels refuses what decoding would.
func checkChannels(h Head) error {
	if len(h.Channels) > MaxChannels {
		return fmt.Errorf("%d channels are over %d", len(h.Channels), MaxChannels)
	}
	for _, c := range h.Channels {
		if err := CheckChannel(c.Name); err != nil {
			return err
		}
	}
	if h.Ahead == nil {
		return nil
	}
	if len(h.Ahead.Hosts) > MaxSelectors {
		return fmt.Errorf("%d selectors are over %d", len(h.Ahead.Hosts), MaxSelectors)
	}
	for _, s := range h.Ahead.Hosts {
		if len(s.Label) > MaxLabel || s.Parts > AllParts {
			return fmt.Errorf("a selector of %d parts with a label of %d bytes", s.Parts, len(s.Label))
		}
	}
	return CheckChannel(h.Ahead.Channel)
}

func channelsToWire(channels []Channel) []*wirepb.Channel {
	wire := make([]*wirepb.Channel, len(channels))
	for i, c := range channels {
		wire[i] = &wirepb.Channel{Name: c.Name, Generation: c.Generation, Commit: c.Commit[:]}
	}
	return wire
}

func aheadToWire(a *Ahead) *wirepb.Ahead {
	if a == nil {
		return nil
	}
	wire := &wirepb.Ahead{Channel: a.Channel, Generation: a.Generation, Commit: a.Commit[:]}
	for _, s := range a.Hosts {
		wire.Hosts = append(wire.Hosts, &wirepb.Selector{Label: s.Label, Parts: s.Parts})
	}
	return wire
}

// channels reads the channels of a head at a generation.
func (f *fields) channels(wire []*wirepb.Channel, generation uint64) []Channel {
	f.check(len(wire) <= MaxChannels, "%d channels", len(wire))
	if len(wire) == 0 || len(wire) > MaxChannels {
		return nil
	}
	channels := make([]Channel, len(wire))
	for i, w := range wire {
		channels[i] = Channel{Name: f.channel(w.Name), Generation: w.Generation, Commit: f.hash("channel's commit id", w.Commit)}
		f.check(w.Generation > 0 && w.Generation <= generation, "a channel beyond its generation")
		f.check(i == 0 || channels[i-1].Name < w.Name, "channels out of order")
	}
	return channels
}

func (f *fields) channel(name string) string {
	f.check(name != "" && len(name) <= MaxChannelName, "a channel's name of %d bytes", len(name))
	return name
}

func (f *fields) ahead(wire *wirepb.Ahead, generation uint64) *Ahead {
	if wire == nil {
		return nil
	}
	f.check(wire.Generation > 0 && wire.Generation <= generation, "a rollout beyond its generation")
	f.check(len(wire.Hosts) <= MaxSelectors, "%d selectors", len(wire.Hosts))
	a := &Ahead{Channel: f.channel(wire.Channel), Generation: wire.Generation, Commit: f.hash("rollout's commit id", wire.Commit)}
	for _, w := range wire.Hosts[:min(len(wire.Hosts), MaxSelectors)] {
		f.check(w.Parts <= AllParts, "a selector of %d parts", w.Parts)
		a.Hosts = append(a.Hosts, Selector{Label: f.name(w.Label), Parts: w.Parts})
	}
	return a
}
