package report_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/confsyncd/confsyncd/internal/report"
)

func TestLastReportOfEachDirectoryIsKept(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	if r, err := report.Read(state); err != nil || len(r) != 0 {
		t.Fatalf("no state_dir: %v, %v", r, err)
	}
	for _, r := range []report.Report{
		{Role: report.Target, Tenant: "prod", Dir: "/a", State: "waiting", Reason: "etcd"},
		{Role: report.Target, Tenant: "prod", Dir: "/b", State: "in_sync"},
		{Role: report.Target, Tenant: "prod", Dir: "/a", State: "in_sync"},
	} {
		if err := report.Write(state, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := report.Read(state)
	if err != nil || len(got) != 2 || got[0].State != "in_sync" || got[1].State != "in_sync" || got[0].PID != os.Getpid() {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestUnreadableReportDoesNotHideOthers(t *testing.T) {
	state := t.TempDir()
	if err := report.Write(state, report.Report{Role: report.Source, Dir: "/a"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "reports", "bad.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := report.Read(state)
	if err == nil || len(got) != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
}
