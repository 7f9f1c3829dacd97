//go:build !lean

package publisher_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/publisher"
)

func TestPushReadsAgainWhatItHasTo(t *testing.T) {
	p := newPlace(t)
	p.write("a", "one")
	p.write("d/b", "two")
	p.mustPush()
	time.Sleep(60 * time.Millisecond) // Until then a stamp is racy, see package scan.
	p.mustPush()
	for _, tt := range []struct {
		name string
		edit func(o *publisher.Options)
		want string
	}{
		{"nothing if nothing changed", func(*publisher.Options) {}, "read=0"},
		{"a file that did", func(*publisher.Options) { p.write("d/b", "three") }, "read=1"},
		{"everything if that was long ago", func(o *publisher.Options) { o.Rehash = time.Nanosecond }, "read=2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, log := p.options, new(bytes.Buffer)
			o.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: log})
			tt.edit(&o)
			if _, err := p.push(o, publisher.PushOptions{}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(log.String(), tt.want+" ") {
				t.Errorf("the log tells not of %q: %s", tt.want, log)
			}
		})
	}
}
