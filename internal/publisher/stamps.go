package publisher

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const stampsName = "stamps"

// recallStamps has the first scan go by what an earlier process knew of the directory, so
// that it need not read all files. A publisher that will not run for long does so only if
// all were read within the last Options.Rehash. The stamps are a cache: not synced,
// checked when they are read, and missed by nobody.
func (p *Publisher) recallStamps() {
	known := p.memory.state.Managed
	if known.Len() == 0 {
		return
	}
	stamps, err := p.memory.dir.ReadFile(stampsName)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			p.options.Log.Warn("reading all files: "+stampsName+" of the last time", "error", err)
		}
		return
	}
	var since time.Time
	if p.push != nil {
		since = time.Now().Add(-p.options.rehashEvery())
	}
	if p.scanner.Recall(known, stamps, since) {
		p.stamped = known.Digest()
	}
}

// saveStamps leaves what is known of the committed files to the next process, if it is more
// than there is already.
func (p *Publisher) saveStamps() error {
	known := p.memory.state.Managed
	if p.memory.readOnly() || !p.scanner.Learned() && p.stamped == known.Digest() {
		return nil
	}
	stamps := p.scanner.Stamps(known)
	if stamps == nil {
		return nil
	}
	err := p.memory.dir.WriteFile(stampsName+".new", stamps, 0o600)
	if err == nil {
		err = p.memory.dir.Rename(stampsName+".new", stampsName)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", stampsName, err)
	}
	p.stamped = known.Digest()
	return nil
}

// keepStamps is saveStamps of a daemon. Without them the next one only reads more.
func (d *daemon) keepStamps() {
	if err := d.saveStamps(); err != nil {
		d.options.Log.Warn("keeping what is known of the files", "tenant", d.options.Tenant, "error", err)
	}
}
