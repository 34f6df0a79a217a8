// SPDX-License-Identifier: Apache-2.0
// How the shipped programs are linked, read from the built files.
#include <algorithm>
#include <array>
#include <cstring>
#include <elf.h>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd {
namespace {

/// A 64-bit program of this machine.
class Program {
 public:
  explicit Program(const std::string& path) {
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    if (!in) return;
    bytes_.resize(static_cast<std::size_t>(in.tellg()));
    in.seekg(0).read(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
  }
  [[nodiscard]] bool valid() const {
    return bytes_.size() > sizeof(Elf64_Ehdr) && bytes_.starts_with(ELFMAG);
  }
  [[nodiscard]] Elf64_Ehdr header() const { return at<Elf64_Ehdr>(0); }
  [[nodiscard]] std::vector<Elf64_Phdr> segments() const {
    return list<Elf64_Phdr>(header().e_phoff, header().e_phnum);
  }
  [[nodiscard]] std::optional<Elf64_Phdr> segment(Elf64_Word type) const {
    const auto all = segments();
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.p_type == type; });
    return found == all.end() ? std::nullopt : std::optional(*found);
  }
  [[nodiscard]] std::multimap<Elf64_Sxword, Elf64_Xword> dynamic() const {
    std::multimap<Elf64_Sxword, Elf64_Xword> entries;
    const auto where = segment(PT_DYNAMIC);
    if (!where) return entries;
    for (const auto& one : list<Elf64_Dyn>(where->p_offset, where->p_filesz / sizeof(Elf64_Dyn)))
      entries.emplace(one.d_tag, one.d_un.d_val);
    return entries;
  }
  /// The value of the entry; 0 if it is missing.
  [[nodiscard]] Elf64_Xword flags(Elf64_Sxword tag) const {
    const auto entries = dynamic();
    const auto found = entries.find(tag);
    return found == entries.end() ? 0 : found->second;
  }
  /// The first bytes of each global function, by name.
  [[nodiscard]] std::map<std::string, std::string> functions() const {
    std::map<std::string, std::string> found;
    const auto sections = list<Elf64_Shdr>(header().e_shoff, header().e_shnum);
    for (const auto& section : sections) {
      if (section.sh_type != SHT_SYMTAB) continue;
      const auto names = sections.at(section.sh_link).sh_offset;
      for (const auto& symbol : list<Elf64_Sym>(section.sh_offset, section.sh_size / sizeof(Elf64_Sym))) {
        if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || ELF64_ST_BIND(symbol.st_info) != STB_GLOBAL)
          continue;
        if (const auto offset = offsetOf(symbol.st_value))
          found[bytes_.data() + names + symbol.st_name] = bytes_.substr(*offset, 4);
      }
    }
    return found;
  }

 private:
  template <class T>
  [[nodiscard]] T at(std::size_t offset) const {
    T value{};
    if (offset <= bytes_.size() && bytes_.size() - offset >= sizeof value)
      std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  template <class T>
  [[nodiscard]] std::vector<T> list(std::size_t offset, std::size_t count) const {
    std::vector<T> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(at<T>(offset + i * sizeof(T)));
    return all;
  }
  [[nodiscard]] std::optional<std::size_t> offsetOf(Elf64_Addr address) const {
    for (const auto& one : segments()) {
      if (one.p_type == PT_LOAD && address >= one.p_vaddr && address < one.p_vaddr + one.p_filesz)
        return one.p_offset + (address - one.p_vaddr);
    }
    return std::nullopt;
  }
  std::string bytes_;
};

struct Hardening : testing::TestWithParam<const char*> {
  Program program{std::string(BIN_DIR) + "/" + GetParam()};
  void SetUp() override { ASSERT_TRUE(program.valid()) << GetParam() << " was not built"; }
};

TEST_P(Hardening, TheOffsetTableIsReadOnly) {
  EXPECT_TRUE((program.flags(DT_FLAGS) & DF_BIND_NOW) != 0 || (program.flags(DT_FLAGS_1) & DF_1_NOW) != 0)
      << "not linked with -z now: its offset table is writable";
  EXPECT_TRUE(program.segment(PT_GNU_RELRO)) << "not linked with -z relro";
  EXPECT_EQ(program.dynamic().count(DT_TEXTREL), 0U) << "its code has relocations";
}

TEST_P(Hardening, NoMemoryIsBothWritableAndExecutable) {
  const auto stack = program.segment(PT_GNU_STACK);
  ASSERT_TRUE(stack) << "without it the stack is executable";
  EXPECT_EQ(stack->p_flags & PF_X, 0U);
  for (const auto& one : program.segments())
    EXPECT_NE(one.p_flags & (PF_W | PF_X), static_cast<Elf64_Word>(PF_W | PF_X)) << one.p_vaddr;
}

TEST_P(Hardening, IsPositionIndependent) {
  EXPECT_EQ(program.header().e_type, ET_DYN);
  EXPECT_NE(program.flags(DT_FLAGS_1) & DF_1_PIE, 0U);
}

TEST_P(Hardening, FunctionsBeginWithABranchTarget) {
  if (!CF_PROTECTION) GTEST_SKIP() << "the compiler has no -fcf-protection (not amd64)";
  const std::string mark = "\xf3\x0f\x1e\xfa";  // endbr64
  const auto functions = program.functions();
  ASSERT_TRUE(functions.contains("main")) << "the program's symbols were stripped";
  std::size_t ours = 0;
  for (const auto& [name, begin] : functions) {
    if (name != "main" && !name.starts_with("_ZN9fallbackd")) continue;
    ++ours;
    EXPECT_EQ(begin, mark) << name << " was compiled without -fcf-protection";
  }
  EXPECT_GT(ours, 20U);
}

INSTANTIATE_TEST_SUITE_P(Shipped, Hardening, testing::Values("fallbackd", "fallbackctl", "fallbackd-spawner"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace fallbackd
