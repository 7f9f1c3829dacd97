//go:build !lean

package store

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
)

func TestOutdated(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"3.4.23":       "good for trying out only",
		"2.3.8":        "good for trying out only",
		"3.5.32":       "upgrade it to 3.5.33",
		"3.5.33":       "",
		"3.5.100":      "",
		"3.6.13":       "upgrade it to 3.6.14",
		"3.6.14":       "",
		"3.7.0":        "upgrade it to 3.7.1",
		"3.7.1-rc.0":   "upgrade it to 3.7.1",
		"3.7.2-alpha0": "",
		"3.8.0":        "",
		"4.0.0":        "",
		"":             "",
		"3.x":          "",
	} {
		got := Outdated(version)
		if want == "" && got != "" || !strings.Contains(got, want) || got != "" && !strings.HasPrefix(got, "etcd "+version+" ") {
			t.Errorf("%q: got %q, want %q", version, got, want)
		}
	}
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestFollowWarnsOfAnOutdatedServerOnce(t *testing.T) {
	t.Parallel()
	var log lines
	c := NewClient(Config{
		Endpoints: []string{devetcdtest.Start(t)}, Prefix: "/confsyncd",
		Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Info}),
	})
	c.oldest = map[int]int{7: 1000}
	t.Cleanup(func() { c.Close() })
	for _, tenant := range []string{"a", "b"} {
		feed := NewFeed()
		go c.Tenant(tenant).Follow(t.Context(), feed) //nolint:errcheck // It returns nil.
		<-feed.Changed()
	}
	for until := time.Now().Add(time.Minute); !strings.Contains(log.String(), "etcd is outdated"); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("no warning:\n%s", &log)
		}
	}
	version, err := c.ServerVersion(t.Context())
	if err != nil || !strings.HasPrefix(version, "3.") {
		t.Errorf("version %q, %v", version, err)
	}
	c.checkVersion(t.Context())
	if n := strings.Count(log.String(), "etcd is outdated"); n != 1 || !strings.Contains(log.String(), "upgrade it to 3.7.1000") {
		t.Errorf("%d warnings:\n%s", n, &log)
	}
}
