// SPDX-License-Identifier: Apache-2.0
#include "cache/elf.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <elf.h>
#include <optional>
#include <vector>

namespace fallbackd::cache {

namespace {

#if defined(__x86_64__)
constexpr std::string_view kArchitecture = "amd64";
#elif defined(__aarch64__)
constexpr std::string_view kArchitecture = "arm64";
#else
#error "this architecture's name is missing here"
#endif

struct Machine {
  std::string_view name;  // in the words of attestations
  Elf64_Half number;
};
constexpr std::array kMachines{Machine{"amd64", EM_X86_64}, Machine{"arm64", EM_AARCH64}};

constexpr std::size_t kMaxHeaders = 256;
constexpr std::size_t kMaxDynamicEntries = 4096;

tl::unexpected<Error> refuse(Reason reason, const std::string& what, const std::string& why) {
  return fail(Stage::admission, reason, what + ": " + why);
}

/// Copies a structure out of the file if it lies completely inside it.
template <class T>
std::optional<T> at(std::span<const std::byte> file, std::uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

/// Empty if it is not an architecture of nodes.
std::string_view architectureOf(const Elf64_Ehdr& header) {
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB) return {};
  const auto* const found = std::find_if(kMachines.begin(), kMachines.end(), [&](const Machine& machine) {
    return machine.number == header.e_machine;
  });
  return found == kMachines.end() ? std::string_view() : found->name;
}

Result<Elf64_Ehdr> readMachine(std::span<const std::byte> file, const std::string& what) {
  if (!hasElfMagic(file)) return refuse(Reason::not_elf, what, "not an ELF program (a script?)");
  const auto header = at<Elf64_Ehdr>(file, 0);
  if (!header) return refuse(Reason::elf_malformed, what, "shorter than an ELF header");
  return *header;
}

Result<Elf64_Ehdr> readHeader(std::span<const std::byte> file, const std::string& what,
                              std::string_view architecture) {
  FB_TRY(const auto header, readMachine(file, what));
  const auto found = architectureOf(header);
  if (found != architecture) {
    return refuse(Reason::elf_wrong_machine, what,
                  "built for " + (found.empty() ? "another machine" : std::string(found)) + ", not for " +
                      std::string(architecture));
  }
  if (header.e_ident[EI_VERSION] != EV_CURRENT || header.e_version != EV_CURRENT ||
      (header.e_type != ET_EXEC && header.e_type != ET_DYN)) {
    return refuse(Reason::elf_malformed, what, "not an executable ELF file");
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum > kMaxHeaders) {
    return refuse(Reason::elf_malformed, what, "the program header table is malformed");
  }
  return header;
}

Result<std::vector<Elf64_Phdr>> readSegments(std::span<const std::byte> file, const Elf64_Ehdr& header,
                                             const std::string& what) {
  std::vector<Elf64_Phdr> segments;
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    // e_phoff + i * 56 cannot overflow: an offset beyond the file's end fails first.
    if (header.e_phoff > file.size())
      return refuse(Reason::elf_malformed, what, "program headers beyond the end");
    const auto segment = at<Elf64_Phdr>(file, header.e_phoff + i * sizeof(Elf64_Phdr));
    if (!segment) return refuse(Reason::elf_malformed, what, "program headers beyond the end");
    if (segment->p_type != PT_NULL && segment->p_type != PT_GNU_STACK &&
        (segment->p_offset > file.size() || file.size() - segment->p_offset < segment->p_filesz)) {
      return refuse(Reason::elf_malformed, what, "a segment lies beyond the end of the file");
    }
    if (segment->p_type == PT_LOAD &&
        (segment->p_memsz < segment->p_filesz || segment->p_vaddr + segment->p_memsz < segment->p_vaddr)) {
      return refuse(Reason::elf_malformed, what, "a segment has impossible sizes");
    }
    segments.push_back(*segment);
  }
  return segments;
}

Result<> checkLoads(const std::vector<Elf64_Phdr>& segments, const Elf64_Ehdr& header,
                    const std::string& what) {
  std::uint64_t end = 0;
  bool any = false;
  bool entryIsCode = false;
  for (const auto& segment : segments) {
    if (segment.p_type != PT_LOAD) continue;
    if ((segment.p_flags & PF_W) != 0 && (segment.p_flags & PF_X) != 0) {
      return refuse(Reason::elf_writable_code, what, "has a segment that is writable and executable");
    }
    // The ABI requires ascending order; an overlapping segment would hide what was checked.
    if (any && segment.p_vaddr < end)
      return refuse(Reason::elf_malformed, what, "segments overlap or are unordered");
    any = true;
    end = segment.p_vaddr + segment.p_memsz;
    entryIsCode = entryIsCode || ((segment.p_flags & PF_X) != 0 && header.e_entry >= segment.p_vaddr &&
                                  header.e_entry - segment.p_vaddr < segment.p_memsz);
  }
  if (!any || !entryIsCode) return refuse(Reason::elf_malformed, what, "its entry point is not in its code");
  return {};
}

Result<> checkStack(const std::vector<Elf64_Phdr>& segments, const std::string& what) {
  // Without this header the kernel makes the stack executable; if there are several, it uses the last.
  bool stated = false;
  bool executable = false;
  for (const auto& segment : segments) {
    if (segment.p_type != PT_GNU_STACK) continue;
    stated = true;
    executable = executable || (segment.p_flags & PF_X) != 0;
  }
  if (!stated || executable) {
    return refuse(Reason::elf_executable_stack, what,
                  "requests an executable stack; link with -z noexecstack");
  }
  return {};
}

Result<> checkStatic(std::span<const std::byte> file, const std::vector<Elf64_Phdr>& segments,
                     const std::string& what) {
  for (const auto& segment : segments) {
    if (segment.p_type == PT_INTERP) {
      return refuse(Reason::elf_dynamic, what,
                    "needs a program loader (PT_INTERP), which the pod does not have; link it statically: "
                    "gcc -static-pie; for Go CGO_ENABLED=0 go build without -buildmode=pie, or with "
                    "-ldflags '-linkmode external -extldflags -static-pie'");
    }
    if (segment.p_type != PT_DYNAMIC) continue;
    const std::size_t count =
        std::min<std::uint64_t>(segment.p_filesz / sizeof(Elf64_Dyn), kMaxDynamicEntries + 1);
    if (count > kMaxDynamicEntries) return refuse(Reason::elf_malformed, what, "dynamic section is too long");
    for (std::size_t i = 0; i < count; ++i) {
      const auto entry = at<Elf64_Dyn>(file, segment.p_offset + i * sizeof(Elf64_Dyn));
      if (!entry || entry->d_tag == DT_NULL) break;
      if (entry->d_tag == DT_NEEDED) {
        return refuse(Reason::elf_dynamic, what, "needs shared libraries (DT_NEEDED); link it statically");
      }
    }
  }
  return {};
}

}  // namespace

std::string_view nodeArchitecture() {
  return kArchitecture;
}

bool hasElfMagic(std::span<const std::byte> bytes) {
  return bytes.size() >= SELFMAG && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0;
}

Result<std::string_view> elfArchitecture(std::span<const std::byte> file, const std::string& what) {
  FB_TRY(const auto header, readMachine(file, what));
  const auto found = architectureOf(header);
  if (found.empty()) {
    return refuse(Reason::elf_wrong_machine, what, "built for a machine that is neither amd64 nor arm64");
  }
  return found;
}

Result<ElfForm> inspectElf(std::span<const std::byte> file, const std::string& what,
                           std::string_view architecture) {
  FB_TRY(const auto header, readHeader(file, what, architecture));
  FB_TRY(const auto segments, readSegments(file, header, what));
  FB_CHECK(checkStatic(file, segments, what));
  FB_CHECK(checkLoads(segments, header, what));
  FB_CHECK(checkStack(segments, what));
  ElfForm form;
  form.pie = header.e_type == ET_DYN;
  for (const auto& segment : segments) {
    if (segment.p_type == PT_GNU_RELRO) form.relro = true;
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) == 0 || form.go) continue;
    form.go = findGoBuild(file.subspan(segment.p_offset, segment.p_filesz));
  }
  return form;
}

}  // namespace fallbackd::cache
