package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCheckOut makes a repository, checks its commits out, and compares the result
// with what git says they are: the source, used as the target.
func TestCheckOut(t *testing.T) {
	dir := t.TempDir()
	origin := filepath.Join(dir, "origin")
	script := `
		git init -q -b main . && mkdir -p d/e
		echo one >d/e/f; echo two >x; chmod 755 x; ln -s d/e/f link; printf 'a\r\n' >crlf; : >"ö"$(printf '\377')
		printf '* text eol=crlf\n' >.gitattributes; git add -A && git commit -qm 1
		git rm -rqf d; ln -sf x link; chmod 644 x; git add -A && git commit -qm 2
		git commit -q --allow-empty -m 3
		git checkout -q -b side HEAD^ && echo side >side && git add -A && git commit -qm side
		git checkout -q main && git merge -q --no-edit side`
	if err := os.Mkdir(origin, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = origin
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := clone(t.Context(), origin, work)
	if err != nil {
		t.Fatal(err)
	}
	commits, err := r.line(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	var last tree
	var counts []int
	for i, commit := range commits {
		want, err := r.tree(t.Context(), commit)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.checkOut(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
		if different, err := (target{r.workTree}).differences(want); err != nil || len(different) > 0 {
			t.Errorf("commit %d: %v, %s", i+1, err, list(different))
		}
		counts = append(counts, len(want.changed(last)))
		last = want
	}
	// d, d/e, d/e/f, x, link, crlf, ö\xff, .gitattributes; then five of them; nothing; side.
	if want := []int{8, 5, 0, 1}; !slices.Equal(counts, want) {
		t.Errorf("changed paths by commit: %v, want %v", counts, want)
	}
	if got, err := r.line(t.Context(), "HEAD~2", "HEAD~1"); err != nil || !slices.Equal(got, commits[1:3]) {
		t.Errorf("line = %v, %v, want %v", got, err, commits[1:3])
	}
}

func TestDifferences(t *testing.T) {
	const hello = "ce013625030ba8dba906f756967f9e9ca394464a" // git hash-object of "hello\n"
	for _, c := range []struct {
		name, want string
		spoil      func(dir string) error
	}{
		{"none", "0 differences", func(string) error { return nil }},
		{"own_directory", "0 differences", func(dir string) error { return os.MkdirAll(filepath.Join(dir, own, "stage"), 0o700) }},
		{"content", `"d/f": blob is cc628ccd10`, func(dir string) error { return os.WriteFile(filepath.Join(dir, "d/f"), []byte("world\n"), 0o644) }},
		{"mode", `"d/f": mode is 0600, want 0644`, func(dir string) error { return os.Chmod(filepath.Join(dir, "d/f"), 0o600) }},
		{"missing", `"d/f": missing`, func(dir string) error { return os.Remove(filepath.Join(dir, "d/f")) }},
		{"missing_with_directory", `"d": missing`, func(dir string) error { return os.RemoveAll(filepath.Join(dir, "d")) }},
		{"file_too_many", `"d/g": not in the commit`, func(dir string) error { return os.WriteFile(filepath.Join(dir, "d/g"), nil, 0o644) }},
		{"directory_too_many", `"e": not in the commit`, func(dir string) error { return os.Mkdir(filepath.Join(dir, "e"), 0o755) }},
		{"kind", `"d/f": kind is d`, func(dir string) error {
			f := filepath.Join(dir, "d/f")
			if err := os.Remove(f); err != nil {
				return err
			}
			return os.Mkdir(f, 0o755)
		}},
		{"symlink", `"link": blob is`, func(dir string) error {
			if err := os.Remove(filepath.Join(dir, "link")); err != nil {
				return err
			}
			return os.Symlink("d/g", filepath.Join(dir, "link"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			want := make(tree)
			for _, f := range []struct{ name, mode, id string }{
				{"d/f", "100644", hello}, {"link", "120000", blobID([]byte("d/f"), 40)},
			} {
				if err := want.add(f.name, f.mode, f.id); err != nil {
					t.Fatal(err)
				}
			}
			for _, err := range []error{
				os.Mkdir(filepath.Join(dir, "d"), 0o755),
				os.WriteFile(filepath.Join(dir, "d/f"), []byte("hello\n"), 0o644),
				os.Chmod(filepath.Join(dir, "d/f"), 0o644),
				os.Symlink("d/f", filepath.Join(dir, "link")),
				c.spoil(dir),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			different, err := target{dir}.differences(want)
			if got := list(different); err != nil || !strings.Contains(got, c.want) {
				t.Errorf("differences = %s, %v; want %s", got, err, c.want)
			}
		})
	}
}

func TestBlobIDIsGits(t *testing.T) {
	content := []byte("hello\n")
	for _, want := range []string{
		"ce013625030ba8dba906f756967f9e9ca394464a",
		"2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4",
	} {
		if got := blobID(content, len(want)); got != want {
			t.Errorf("blobID = %s, want %s", got, want)
		}
	}
}

func TestCommitsAreReadFromALogInPieces(t *testing.T) {
	c := new(commits)
	log := `{"@message":"starting","generation":1}
not JSON
{"@level":"info","@message":"committed","generation":2}
{"@message":"committed","generation":3}
{"@message":"committed","generation":4`
	for b := range slices.Chunk([]byte(log), 7) {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.take(); !slices.Equal(got, []uint64{2, 3}) {
		t.Errorf("take = %v", got)
	}
	if c.any() || c.take() != nil {
		t.Error("generations were taken and are still there")
	}
}

func TestPercentile(t *testing.T) {
	r := &replay{}
	if got := r.percentile(50); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 200 {
		r.latencies = append(r.latencies, latency{Duration: time.Duration(i+1) * time.Millisecond})
	}
	for p, want := range map[int]time.Duration{50: 100, 99: 198, 100: 200} {
		if got := r.percentile(p); got != want*time.Millisecond {
			t.Errorf("p%d = %v, want %v", p, got, want*time.Millisecond)
		}
	}
}

func TestTreeRefusesAModeItDoesNotKnow(t *testing.T) {
	if err := make(tree).add("x", "100600", ""); err == nil {
		t.Error("no error")
	}
	sub := make(tree)
	if err := sub.add("a/module", "160000", "x"); err != nil || sub["a/module"].mode != fs.ModeDir || sub.files() != 0 {
		t.Errorf("a submodule is %v, %v", sub["a/module"], err)
	}
}
