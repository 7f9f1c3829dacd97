package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestFaults parses each testdata/*.toml and compares the faults with the
// *.want beside it. UPDATE_WANT=1 writes the *.want files anew.
func TestFaults(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/nonexistent")
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d files in testdata (%v)", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".toml")
		t.Run(name, func(t *testing.T) {
			data := readFile(t, file)
			c, err := Parse(data)
			var faults Faults
			if c != nil || !errors.As(err, &faults) {
				t.Fatalf("Parse = %v, %v; want faults", c, err)
			}
			got := faults.Error() + "\n"
			if strings.Contains(got, "hunter2") {
				t.Errorf("the password is shown:\n%s", got)
			}
			want := strings.TrimSuffix(file, ".toml") + ".want"
			if os.Getenv("UPDATE_WANT") != "" {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil { //nolint:gosec // A source file.
					t.Fatal(err)
				}
			}
			if expected := string(readFile(t, want)); got != expected {
				t.Errorf("got:\n%swant:\n%s", got, expected)
			}
		})
	}
}

func TestOneFileReportsADozenFaults(t *testing.T) {
	_, err := Parse(readFile(t, "testdata/dozen.toml"))
	var faults Faults
	if !errors.As(err, &faults) || len(faults) < 12 {
		t.Fatalf("got %d faults: %v", len(faults), err)
	}
	for _, f := range faults {
		if f.Line == 0 || f.Key == "" || f.Remedy == "" {
			t.Errorf("incomplete: %#v", f)
		}
	}
}

func TestParseTakesTheDesignsExample(t *testing.T) {
	c, err := Parse([]byte(`
state_dir = "/var/lib/confsyncd/"

[etcd]
endpoints = ["https://e1:2379", "https://[::1]:2379"]
username = "agent"
password_file = "/etc/confsyncd/password"

[http]
publisher = ":9464"
agent = "[::1]:0"
pprof = true

[[source]]
tenant = "prod"
dir = "/srv/config/prod/"
settle = "0s"
max_file_size = "64MiB"
max_delete = "12.5%"
ignore = []

[[target]]
tenant = "prod"
dir = "/etc/app"
paths = ["nginx/**", 'nginx/a\[b']
strip_prefix = "nginx"
file_mode = "0640"
`))
	if err != nil {
		t.Fatal(err)
	}
	source := DefaultSource()
	source.Tenant, source.Dir, source.Line = "prod", "/srv/config/prod", 14
	source.Settle, source.MaxFileSize, source.MaxDelete, source.Ignore = 0, 64<<20, 0.125, []string{}
	target := DefaultTarget()
	target.Tenant, target.Dir, target.Line = "prod", "/etc/app", 22
	target.Paths, target.StripPrefix = []string{"nginx/**", `nginx/a\[b`}, "nginx/"
	fileMode := uint32(0o640)
	target.FileMode = &fileMode
	same(t, c.StateDir, "/var/lib/confsyncd")
	same(t, c.Sources, []Source{source})
	same(t, c.HTTP, HTTP{Publisher: "127.0.0.1:9464", Agent: "[::1]:0", Pprof: true})
	same(t, c.Targets, []Target{target})
	same(t, c.Etcd, Etcd{
		Endpoints: []string{"https://e1:2379", "https://[::1]:2379"}, Prefix: "/confsyncd",
		Username: "agent", PasswordFile: "/etc/confsyncd/password",
	})
}

func TestAnEmptyFileIsTheDefault(t *testing.T) {
	c, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.lines = nil
	same(t, c, Default())
}

func TestDefaultStateDir(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Setenv("XDG_STATE_HOME", "/ignored/for/root")
		same(t, Default().StateDir, "/var/lib/confsyncd")
		return
	}
	t.Setenv("HOME", "/home/me")
	for state, want := range map[string]string{
		"/state":   "/state/confsyncd",
		"":         "/home/me/.local/state/confsyncd",
		"relative": "/home/me/.local/state/confsyncd",
	} {
		t.Setenv("XDG_STATE_HOME", state)
		same(t, Default().StateDir, want)
	}
}

func TestAnUnknownHomeIsNoFaultOfTheFile(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root's state directory does not depend on the environment")
	}
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "")
	c, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, c.StateDir, "")
}

const sample = "../../systemd/confsyncd.toml"

func TestSampleParsesAsItIs(t *testing.T) {
	if _, err := Load(sample); err != nil {
		t.Error(err)
	}
}

func TestSampleShowsTheDefaults(t *testing.T) {
	key := regexp.MustCompile(`(?m)^#(\[|\w+ = )`)
	c, err := Parse(key.ReplaceAll(readFile(t, sample), []byte("$1")))
	if err != nil {
		t.Fatal(err)
	}
	source := DefaultSource()
	source.Tenant, source.Dir, source.Line = "prod", "/srv/config/prod", c.Sources[0].Line
	target := DefaultTarget()
	target.Tenant, target.Dir, target.Line = "prod", "/etc/app", c.Targets[0].Line
	target.Paths = []string{"**"} // What the default, nil, means.
	want := Default()
	want.StateDir, want.lines = "/var/lib/confsyncd", c.lines
	want.Sources, want.Targets = []Source{source}, []Target{target}
	same(t, c, want)
}

func TestSampleMentionsEveryKey(t *testing.T) {
	header := regexp.MustCompile(`(?m)^#\[+(\w+)\]+$`)
	text := string(readFile(t, sample))
	sections := map[string]string{}
	name, rest := "", text
	for _, at := range header.FindAllStringSubmatchIndex(text, -1) {
		sections[name] = text[len(text)-len(rest) : at[0]]
		name, rest = text[at[2]:at[3]], text[at[1]:]
	}
	sections[name] = rest
	for _, k := range Default().keys() {
		if k.inside == nil {
			mentioned(t, sections, "", k.name)
			continue
		}
		for _, inner := range k.inside() {
			if inner.inside == nil {
				mentioned(t, sections, k.name, inner.name)
			} else {
				shown(t, text, k.name+"."+inner.name, inner.inside())
			}
		}
	}
}

// shown fails unless the sample has an example of a table in a table, indented since it is no
// default.
func shown(t *testing.T, text, name string, keys []key) {
	t.Helper()
	if !strings.Contains(text, "\n#   ["+name+"]") && !strings.Contains(text, "\n#   [["+name+"]]") {
		t.Errorf("the sample lacks %q", name)
	}
	for _, k := range keys {
		if k.inside != nil {
			shown(t, text, name+"."+k.name, k.inside())
		} else if !strings.Contains(text, "\n#   "+k.name+" = ") {
			t.Errorf("the sample lacks %q in %q", k.name, name)
		}
	}
}

func mentioned(t *testing.T, sections map[string]string, section, key string) {
	t.Helper()
	if !strings.Contains(sections[section], "\n#"+key+" = ") {
		t.Errorf("the sample lacks %q in section %q", key, section)
	}
}

func TestLoad(t *testing.T) {
	t.Run("a missing file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "none.toml")
		if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a faulty file is named with its faults", func(t *testing.T) {
		_, err := Load("testdata/syntax.toml")
		var faults Faults
		if !errors.As(err, &faults) || len(faults) != 1 || !strings.Contains(err.Error(), "testdata/syntax.toml") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("an endless file is refused", func(t *testing.T) {
		_, err := Load("/dev/zero")
		var faults Faults
		if !errors.As(err, &faults) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCheckOfValuesFromFlags(t *testing.T) {
	source := DefaultSource()
	source.Tenant, source.Dir, source.Settle = "prod", "srv", time.Hour
	same(t, keysOf(source.Check()), []string{"dir", "settle"})
	source.Dir, source.Settle = "/srv/", 0
	same(t, source.Check(), Faults(nil))
	same(t, source.Dir, "/srv")

	target := DefaultTarget()
	setuid := uint32(0o4755)
	target.Dir, target.StripPrefix, target.FileMode = "/etc/app", "a", &setuid
	same(t, keysOf(target.Check()), []string{"tenant", "file_mode", "strip_prefix"})
	target.Tenant, target.Paths, target.FileMode = "prod", []string{"a/*"}, nil
	same(t, target.Check(), Faults(nil))
	same(t, target.StripPrefix, "a/")
}

func TestCheckAfterAFlagReplacedAValue(t *testing.T) {
	c, err := Parse([]byte("[etcd]\nprefix = \"/a\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.Etcd.Prefix = "a"
	c.Etcd.Endpoints = nil
	same(t, keysOf(c.Check()), []string{"etcd.endpoints", "etcd.prefix"})
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	present := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(present, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Parse([]byte(`
[etcd]
ca_file = "` + present + `"
cert_file = "` + dir + `"
key_file = "` + dir + `/none.pem"
username = "a"
password_file = "` + dir + `/hunter2"

[[target]]
tenant = "a"
dir = "/etc/a"
owner = "root"
group = "0"

[[target]]
tenant = "b"
dir = "/etc/b"
owner = "no-such-user"
group = "4294967295"
`))
	if err != nil {
		t.Fatal(err)
	}
	faults := c.CheckFiles()
	same(t, keysOf(faults), []string{"etcd.cert_file", "etcd.key_file", "etcd.password_file", "target[1].owner", "target[1].group"})
	same(t, faults[1].Line, 5)
	if strings.Contains(faults.Error(), "hunter2") {
		t.Errorf("the password is shown:\n%v", faults)
	}
}

func TestFaultString(t *testing.T) {
	f := Fault{Line: 12, Key: "source[0].settle", Problem: `"x" is no duration`, Remedy: `write "50ms"`}
	same(t, f.String(), `line 12: source[0].settle: "x" is no duration; write "50ms"`)
	same(t, Fault{Key: "dir", Problem: "is missing"}.String(), "dir: is missing")
}

// FuzzParse holds that no input panics, that what is accepted has no faults,
// and that every fault can be found and corrected. Large seeds are left out:
// the fuzzer would spend its time on making them smaller.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, sample) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 4096 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err == nil {
			if faults := c.Check(); faults != nil {
				t.Errorf("accepted with faults: %v", faults)
			}
			return
		}
		var faults Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("no faults in %v", err)
		}
		lines := bytes.Count(data, []byte("\n")) + 1
		for _, fault := range faults {
			if fault.Problem == "" || fault.Remedy == "" || fault.Line > lines {
				t.Errorf("incomplete: %#v", fault)
			}
		}
	})
}

func keysOf(faults Faults) []string {
	var keys []string
	for _, f := range faults {
		keys = append(keys, f.Key)
	}
	return keys
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
