// SPDX-License-Identifier: Apache-2.0
#include "cache/elf.hpp"

#include "signed_cache.hpp"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <functional>
#include <random>

namespace fallbackd::cache {
namespace {

Result<ElfForm> inspect(const std::string& bytes) {
  return inspectElf(std::as_bytes(std::span(bytes)), "it");
}

/// Changes the header or one program header of a good program.
std::string mangled(const std::function<void(Elf64_Ehdr&, Elf64_Phdr*)>& change) {
  auto bytes = test::program("elf-static-pie");
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  const auto size = segments.size() * sizeof(Elf64_Phdr);
  const auto offset = header.e_phoff;
  std::memcpy(segments.data(), bytes.data() + offset, size);
  change(header, segments.data());
  std::memcpy(bytes.data() + offset, segments.data(), size);
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

Elf64_Phdr* firstOf(Elf64_Phdr* segments, Elf64_Word type) {
  while (segments->p_type != type) ++segments;
  return segments;
}

TEST(Elf, DistinguishesTheForms) {
  EXPECT_TRUE(inspect(test::program("elf-static-pie"))->pie);
  EXPECT_FALSE(inspect(test::program("elf-static"))->pie);
  EXPECT_TRUE(inspect(test::program("elf-static-pie"))->relro);
  EXPECT_FALSE(inspect(mangled([](auto&, auto* p) { firstOf(p, PT_GNU_RELRO)->p_type = PT_NULL; }))->relro);
  EXPECT_EQ(inspect(test::program("elf-dynamic")).error().reason, Reason::elf_dynamic);
  EXPECT_EQ(inspect(test::program("elf-execstack")).error().reason, Reason::elf_executable_stack);
  EXPECT_EQ(inspect(test::withWritableCode(test::program("elf-static"))).error().reason,
            Reason::elf_writable_code);
  EXPECT_EQ(inspect("#!/bin/sh\n").error().reason, Reason::not_elf);
  EXPECT_EQ(inspect("").error().reason, Reason::not_elf);
}

TEST(Elf, MangledHeadersAreRefused) {
  struct Row {
    const char* name;
    Reason reason;
    std::function<void(Elf64_Ehdr&, Elf64_Phdr*)> change;
  };
  const std::vector<Row> rows{
      {"32 bit", Reason::elf_wrong_machine, [](auto& h, auto*) { h.e_ident[EI_CLASS] = ELFCLASS32; }},
      {"big endian", Reason::elf_wrong_machine, [](auto& h, auto*) { h.e_ident[EI_DATA] = ELFDATA2MSB; }},
      {"other machine", Reason::elf_wrong_machine, [](auto& h, auto*) { h.e_machine = EM_S390; }},
      {"relocatable", Reason::elf_malformed, [](auto& h, auto*) { h.e_type = ET_REL; }},
      {"no program headers", Reason::elf_malformed, [](auto& h, auto*) { h.e_phnum = 0; }},
      {"odd header size", Reason::elf_malformed, [](auto& h, auto*) { h.e_phentsize = 1; }},
      {"headers far away", Reason::elf_malformed, [](auto& h, auto*) { h.e_phoff = ~0ULL - 8; }},
      {"headers over the end", Reason::elf_malformed, [](auto& h, auto*) { h.e_phoff += 1U << 30U; }},
      {"entry outside the code", Reason::elf_malformed, [](auto& h, auto*) { h.e_entry = ~0ULL; }},
      {"segment beyond the end", Reason::elf_malformed,
       [](auto&, auto* p) { firstOf(p, PT_LOAD)->p_offset = ~0ULL - 4; }},
      {"segment larger in file", Reason::elf_malformed,
       [](auto&, auto* p) { firstOf(p, PT_LOAD)->p_memsz = 0; }},
      {"address wraps", Reason::elf_malformed,
       [](auto&, auto* p) { firstOf(p, PT_LOAD)->p_vaddr = ~0ULL - 8; }},
      {"overlapping segments", Reason::elf_malformed,
       [](auto&, auto* p) { (firstOf(p, PT_LOAD) + 1)->p_vaddr = firstOf(p, PT_LOAD)->p_vaddr; }},
      {"interpreter slipped in", Reason::elf_dynamic,
       [](auto&, auto* p) { firstOf(p, PT_NOTE)->p_type = PT_INTERP; }},
      {"no stack header", Reason::elf_executable_stack,
       [](auto&, auto* p) { firstOf(p, PT_GNU_STACK)->p_type = PT_NULL; }},
      {"last stack header of two", Reason::elf_executable_stack,
       [](auto&, auto* p) {
         auto* note = firstOf(p, PT_NOTE);
         auto* stack = firstOf(p, PT_GNU_STACK);
         *note = *stack;
         std::max(note, stack)->p_flags |= PF_X;
       }},
      {"executable data", Reason::elf_writable_code,
       [](auto&, auto* p) { firstOf(p, PT_LOAD)->p_flags = PF_R | PF_W | PF_X; }},
  };
  for (const auto& row : rows) {
    const auto result = inspect(mangled(row.change));
    ASSERT_FALSE(result) << row.name;
    EXPECT_EQ(toString(result.error().reason), toString(row.reason)) << row.name;
  }
}

TEST(Elf, TruncationAndNoiseDoNotCrashIt) {
  const auto good = test::program("elf-static-pie");
  for (std::size_t size = 0; size < 2048; ++size) EXPECT_FALSE(inspect(good.substr(0, size)));
  std::minstd_rand random(1);
  for (int round = 0; round < 2000; ++round) {
    auto noisy = good.substr(0, 8192);
    for (int i = 0; i < 8; ++i) noisy[random() % 1024] = static_cast<char>(random());
    static_cast<void>(inspect(noisy));
  }
}

}  // namespace
}  // namespace fallbackd::cache
