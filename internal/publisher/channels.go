package publisher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/confsyncd/confsyncd/internal/codec"
)

const channelsName = "channels"

// channels returns those that a commit advances. A founding has all that are remembered
// too: what they were at is lost with etcd, and hosts that follow them would wait for
// somebody to make them again.
func (p *Publisher) channels(on standing) []string {
	names := p.options.Channels
	if names == nil {
		names = []string{codec.MainChannel}
	}
	if on.founding {
		names = merged(slices.Clone(names), p.memory.channels)
	}
	return names
}

// noteChannels remembers the names of the channels of the head that the publisher stands
// on.
func (p *Publisher) noteChannels() error {
	if !p.stands() {
		return nil
	}
	var names []string
	for _, c := range p.view.Head.AllChannels() {
		names = append(names, c.Name)
	}
	return p.memory.rememberChannels(names)
}

// rememberChannels makes the names, in order, those that are known, durably.
func (m *memory) rememberChannels(names []string) error {
	if slices.Equal(m.channels, names) {
		return nil
	}
	if !m.readOnly() {
		if err := m.writeChannels(names); err != nil {
			return fmt.Errorf("remember channels: %w", err)
		}
	}
	m.channels = names
	return nil
}

func (m *memory) writeChannels(names []string) error {
	b, err := json.Marshal(names)
	if err != nil {
		return err
	}
	f, err := m.dir.OpenFile(channelsName+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := m.dir.Rename(channelsName+".new", channelsName); err != nil {
		return err
	}
	return m.lock.Sync() // It is the directory.
}

// loadChannels reads what rememberChannels wrote. Where that cannot be read, only main is
// known, until the head tells more.
func (m *memory) loadChannels() error {
	m.channels = []string{codec.MainChannel}
	b, err := m.dir.ReadFile(channelsName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err == nil && (len(names) == 0 || len(names) > codec.MaxChannels) {
		err = fmt.Errorf("%d names", len(names))
	}
	for _, name := range names {
		err = errors.Join(err, codec.CheckChannel(name))
	}
	if err != nil {
		return fmt.Errorf("remembered channels: %w", err)
	}
	slices.Sort(names)
	m.channels = names
	return nil
}
