package logging

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
)

func TestEpisode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		e := NewEpisode(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true}), "read head")
		e.Ended()
		for range 100 {
			e.Failed(errors.New("away"))
			time.Sleep(time.Second)
		}
		e.Ended()
		e.Failed(errors.New("away"))
		want := []string{
			`read head failed: error=away`,
			`read head still fails: error=away times=11 for=10s`,
			`read head still fails: error=away times=41 for=40s`,
			`read head works again: times=100 for=1m40s`,
			`read head failed: error=away`,
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != len(want) {
			t.Fatalf("got %d lines, want %d:\n%s", len(lines), len(want), out.String())
		}
		for i, line := range lines {
			if !strings.HasSuffix(line, want[i]) {
				t.Errorf("line %d is %q, want %q", i, line, want[i])
			}
		}
	})
}

func TestZapWritesToHclog(t *testing.T) {
	var out bytes.Buffer
	log := Zap(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true, Level: hclog.Info})).With(zap.String("member", "m1"))
	log.Warn("a retry of its own")
	log.Error("disk is slow", zap.Int("took", 3))
	got := out.String()
	if strings.Contains(got, "retry") || !strings.Contains(got, "etcd: disk is slow") || !strings.Contains(got, "member=m1") || !strings.Contains(got, "took=3") {
		t.Errorf("got %q", got)
	}
}
