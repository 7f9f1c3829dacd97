package codec

import (
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

// Selector has a share of the hosts with a label.
type Selector struct {
	Label   string // "key=value"; empty: all hosts
	Percent uint32 // of them, by a stable hash of their ids
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
		wire.Hosts = append(wire.Hosts, &wirepb.Selector{Label: s.Label, Percent: s.Percent})
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
		f.check(w.Percent <= 100, "a selector of %d percent", w.Percent)
		a.Hosts = append(a.Hosts, Selector{Label: f.name(w.Label), Percent: w.Percent})
	}
	return a
}
