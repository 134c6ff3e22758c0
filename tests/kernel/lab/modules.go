package lab

// Kernel modules: which files a set of modules needs, and the indexes modprobe
// reads. The package has no modules.dep (its maintainer script runs depmod), so
// dependencies and aliases are read from the modules themselves.

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// builtinName is the file, of the package too, that tells modprobe what needs no loading.
const builtinName = "modules.builtin"

// module is one kernel module.
type module struct {
	path    string // from the modules directory
	depends []string
	aliases []string
}

// moduleSet is the modules of one machine.
type moduleSet struct {
	root    string            // the modules directory of the kernel package
	builtin map[string]bool   // what is part of the kernel itself
	index   map[string]string // path by name, of all modules of the package
	modules map[string]module // what the machine gets
	order   []string          // of modules, dependencies first
}

// collectModules finds the modules called names and all they depend on.
func collectModules(root string, names []string) (*moduleSet, error) {
	s := &moduleSet{root: root, builtin: make(map[string]bool), index: make(map[string]string), modules: make(map[string]module)}
	list, err := os.ReadFile(filepath.Join(root, builtinName))
	if err != nil {
		return nil, err
	}
	for path := range strings.FieldsSeq(string(list)) {
		s.builtin[moduleName(path)] = true
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".ko") {
			return err
		}
		rel, err := filepath.Rel(root, path)
		s.index[moduleName(path)] = rel
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := s.add(name); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// moduleName is the name of the module in the file path: '-' and '_' are the same.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}

func (s *moduleSet) add(name string) error {
	name = moduleName(name)
	if _, ok := s.modules[name]; ok || s.builtin[name] {
		return nil
	}
	path, ok := s.index[name]
	if !ok {
		return fmt.Errorf("the kernel package has no module %s", name)
	}
	m, err := readModule(s.root, path)
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	s.modules[name] = m
	for _, d := range m.depends {
		if err := s.add(d); err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	s.order = append(s.order, name)
	return nil
}

// readModule reads the NAME=VALUE strings of the section .modinfo.
func readModule(root, path string) (module, error) {
	m := module{path: path}
	f, err := elf.Open(filepath.Join(root, path))
	if err != nil {
		return m, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return m, fmt.Errorf("%s has no .modinfo", path)
	}
	info, err := section.Data()
	if err != nil {
		return m, err
	}
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		name, value, _ := strings.Cut(string(entry), "=")
		switch name {
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				if d != "" {
					m.depends = append(m.depends, moduleName(d))
				}
			}
		case "alias":
			m.aliases = append(m.aliases, value)
		}
	}
	return m, nil
}

// dep is the text of modules.dep: each module with all it depends on, the ones to
// load last first.
func (s *moduleSet) dep() string {
	var b strings.Builder
	for _, name := range s.order {
		var all []string
		var walk func(string)
		walk = func(n string) {
			for _, d := range s.modules[n].depends {
				if !slices.Contains(all, d) {
					walk(d)
					all = append(all, d)
				}
			}
		}
		walk(name)
		fmt.Fprintf(&b, "%s:", s.modules[name].path)
		for _, d := range slices.Backward(all) {
			fmt.Fprintf(&b, " %s", s.modules[d].path)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// alias is the text of modules.alias.
func (s *moduleSet) alias() string {
	var b strings.Builder
	for _, name := range s.order {
		for _, a := range s.modules[name].aliases {
			fmt.Fprintf(&b, "alias %s %s\n", a, name)
		}
	}
	return b.String()
}
