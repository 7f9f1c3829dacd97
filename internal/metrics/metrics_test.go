package metrics

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// sample returns metrics in which every family has samples.
func sample() *Metrics {
	m := New("1.2.3")
	m.Daemon(func() Daemon { return Daemon{Calls: 7, Failed: 2, Broken: true, Failing: 1500 * time.Millisecond} })
	s := m.Source("prod", "/srv/config")
	s.Status(SourceStatus{State: "live", Generation: 12, Held: 1, Watch: Watch{Directories: 3, Overflows: 4, Begun: 1}})
	s.Committed(3*time.Millisecond, 2048, Paths{Created: 1, Changed: 2})
	t := m.Target("prod", `/etc/"app"`+"\n\xff\\")
	t.Status(TargetStatus{State: "holding", Generation: 10, Head: 12, Behind: time.Now().Add(-time.Hour), Drift: 5})
	t.Applied(3*time.Millisecond, time.Now().Add(-20*time.Second), 100, Paths{Deleted: 3})
	t.Applied(2*time.Hour, time.Now().Add(time.Hour), 100, Paths{})
	t.Applied(time.Millisecond, time.Time{}, 0, Paths{})
	t.Repaired(6)
	t.Hooked("check", true)
	t.Hooked("health", false)
	t.Hooked("health", false)
	s.Swept(3, 2, 1000)
	return m
}

func TestPrometheusTakesTheText(t *testing.T) {
	text := sample().Text()
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatalf("Prometheus's parser: %v\n%s", err, text)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families() {
		if !bytes.Contains(text, []byte("# TYPE "+f.name+" "+string(f.kind)+"\n")) {
			t.Errorf("%s has no samples", f.name)
		}
	}
}

func TestTextSays(t *testing.T) {
	text := string(sample().Text())
	source, target := `{tenant="prod",dir="/srv/config"`, `{tenant="prod",dir="/etc/\\\"app\\\"\\n\\xff\\\\"`
	for _, want := range []string{
		`confsyncd_build_info{version="1.2.3"} 1`,
		"confsyncd_etcd_failing_seconds 1.5",
		"confsyncd_source_generation" + source + "} 12",
		"confsyncd_source_state" + source + `,state="live"} 1`,
		"confsyncd_source_state" + source + `,state="holding"} 0`,
		"confsyncd_commit_duration_seconds_bucket" + source + `,le="0.002"} 0`,
		"confsyncd_commit_duration_seconds_bucket" + source + `,le="0.004"} 1`,
		"confsyncd_commit_duration_seconds_count" + source + "} 1",
		"confsyncd_commit_duration_seconds_sum" + source + "} 0.003",
		"confsyncd_committed_paths_total" + source + `,change="changed"} 2`,
		"confsyncd_target_behind_generations" + target + "} 2",
		"confsyncd_apply_duration_seconds_bucket" + target + `,le="65.536"} 2`,
		"confsyncd_apply_duration_seconds_bucket" + target + `,le="+Inf"} 3`,
		// An edit that was made in the future, and none of which nothing is known.
		"confsyncd_edit_to_visible_seconds_bucket" + target + `,le="0.001"} 1`,
		"confsyncd_edit_to_visible_seconds_count" + target + "} 2",
		"confsyncd_swept_records_total" + source + "} 3",
		"confsyncd_swept_bytes_total" + source + "} 1000",
		"confsyncd_hook_runs_total" + target + `,hook="check",outcome="ok"} 1`,
		"confsyncd_hook_runs_total" + target + `,hook="health",outcome="failed"} 2`,
		"confsyncd_repaired_paths_total" + target + "} 6",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	if lag := regexp.MustCompile(`confsyncd_target_lag_seconds\S+ 36\d\d`); !lag.MatchString(text) {
		t.Errorf("no lag of an hour in\n%s", text)
	}
	for _, name := range []string{"process_resident_memory_bytes", "process_open_fds", "go_goroutines"} {
		if !regexp.MustCompile(`(?m)^` + name + ` [1-9]`).MatchString(text) {
			t.Errorf("%s is 0", name)
		}
	}
}

func TestKeepForgetsTheOthers(t *testing.T) {
	m := sample()
	m.Target("test", "/etc/test")
	m.Keep(func(tenant, _ string) bool { return tenant == "test" })
	if text := string(m.Text()); strings.Contains(text, "prod") || !strings.Contains(text, "/etc/test") {
		t.Errorf("got\n%s", text)
	}
	if first := m.Target("test", "/etc/test"); m.Target("test", "/etc/test") != first {
		t.Error("a target is made twice")
	}
}

func TestDocumentsListAllMetrics(t *testing.T) {
	text, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range families() {
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", f.name, f.kind, f.help))
	}
	got := regexp.MustCompile("(?m)^\\| `(confsyncd|process|go)_.*$").FindAllString(string(text), -1)
	if !slices.Equal(got, want) {
		t.Errorf("the table of metrics in docs/fleet.md is to be\n%s", strings.Join(want, "\n"))
	}
}
