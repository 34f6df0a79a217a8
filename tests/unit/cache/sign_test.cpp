// SPDX-License-Identifier: Apache-2.0
// fallbackctl sign and keygen: what sign refuses, and encrypted keys.
#include "ctl_fixture.hpp"

#include <array>
#include <cstring>
#include <elf.h>
#include <pty.h>
#include <sys/wait.h>

namespace fallbackd {
namespace {

using test::CtlTest;
using test::kProgram;
using test::Output;
using test::shell;

/// The program as if it were built for a different machine: no other header field depends on the machine.
std::string forMachine(std::string bytes, Elf64_Half machine) {
  bytes.replace(offsetof(Elf64_Ehdr, e_machine), sizeof machine,
                {static_cast<char>(machine & 0xffU), static_cast<char>(machine >> 8U)});
  return bytes;
}

const bool kHere64 = cache::nodeArchitecture() == "amd64";
const std::string kOtherName = kHere64 ? "arm64" : "amd64";
const Elf64_Half kOtherMachine = kHere64 ? EM_AARCH64 : EM_X86_64;

bool says(const Output& output, const std::string& text) {
  return output.text.find(text) != std::string::npos;
}

struct SignTest : CtlTest {
  [[nodiscard]] Output sign(const std::string& file, const std::string& more = "") const {
    return ctl("sign --key " + path("k.key") + " --name checkout --version 1.8.3 --expires 30d --out " +
               path("a.json") + " " + more + " " + file);
  }
  [[nodiscard]] std::string write(const std::string& name, const std::string& bytes) const {
    test::writeBytes(path(name), bytes);
    return path(name);
  }
  [[nodiscard]] bool signedAnything() const { return std::filesystem::exists(path("a.json")); }
};

TEST_F(SignTest, TheArchitectureMustMatchTheFile) {
  const auto wrong = sign(kProgram, "--arch " + kOtherName);
  EXPECT_EQ(wrong.code, 1) << wrong.text;
  EXPECT_TRUE(says(wrong, "arch_mismatch")) << wrong.text;
  EXPECT_EQ(sign(kProgram, "--skip-form-check --arch " + kOtherName).code, 1)
      << "the architecture is not part of the form";
  EXPECT_EQ(sign(kProgram, "--arch riscv64").code, 2);
  const auto s390 = sign(write("s390", forMachine(test::program("elf-static-pie"), EM_S390)));
  EXPECT_TRUE(says(s390, "elf_wrong_machine")) << s390.text;
  EXPECT_FALSE(signedAnything());
  const auto other = sign(write("other", forMachine(test::program("elf-static-pie"), kOtherMachine)));
  EXPECT_EQ(other.code, 0) << other.text;
  EXPECT_TRUE(says(other, "attests checkout@1.8.3 for " + kOtherName)) << other.text;
}

TEST_F(SignTest, TheFormIsCheckedForEveryArchitecture) {
  for (const auto& [sample, reason] :
       {std::pair{"elf-dynamic", "elf_dynamic"}, std::pair{"elf-execstack", "elf_executable_stack"}}) {
    const auto output =
        sign(write(sample, forMachine(test::program(sample), kOtherMachine)), "--arch " + kOtherName);
    EXPECT_EQ(output.code, 1) << sample;
    EXPECT_TRUE(says(output, reason)) << output.text;
  }
  EXPECT_FALSE(signedAnything());
}

TEST_F(SignTest, ADateInThePastIsRefused) {
  const auto output =
      ctl("sign --key " + path("k.key") + " --name a --version 1 --expires 2020-01-31 --out " +
          path("a.json") + " " + kProgram);
  EXPECT_EQ(output.code, 2);
  EXPECT_TRUE(says(output, "is in the past")) << output.text;
  EXPECT_FALSE(signedAnything());
}

TEST_F(SignTest, AVersionThatContradictsGosBuildInfoIsRefused) {
  const auto go = write("go", test::withGoBuild(test::program("elf-static"), "v1.8.2"));
  const auto output = sign(go);
  EXPECT_EQ(output.code, 1);
  EXPECT_TRUE(says(output, "was built as shop v1.8.2, not as version 1.8.3")) << output.text;
  EXPECT_FALSE(signedAnything());
  EXPECT_EQ(sign(write("go", test::withGoBuild(test::program("elf-static"), "v1.8.3"))).code, 0);
  EXPECT_EQ(sign(write("go", test::withGoBuild(test::program("elf-static"), "(devel)")), "--force").code, 0)
      << "an ordinary go build records no version";
}

TEST_F(SignTest, AnAttestationIsReplacedOnlyByForce) {
  ASSERT_EQ(sign(kProgram).code, 0);
  const auto before = test::readBytes(path("a.json"));
  const auto again = sign(kProgram, "--namespace shop");
  EXPECT_EQ(again.code, 1);
  EXPECT_TRUE(says(again, "already_exists: " + path("a.json") + " exists; --force")) << again.text;
  EXPECT_EQ(test::readBytes(path("a.json")), before);
  EXPECT_EQ(sign(kProgram, "--namespace shop --force").code, 0);
  EXPECT_NE(test::readBytes(path("a.json")), before);
}

struct EncryptedKey : SignTest {
  void SetUp() override {
    SignTest::SetUp();
    if (IsSkipped()) return;
    test::writeBytes(path("pass"), "correct horse\n", 0600);
  }
  [[nodiscard]] Output signWith(const std::string& environment, const std::string& more = "") const {
    return shell(environment + " setsid -w " + std::string(FALLBACKCTL) + " sign --key " + path("e.key") +
                 " --name checkout --version 1.8.3 --expires 30d --force --out " + path("a.json") + " " +
                 more + " " + kProgram);
  }
  /// Runs fallbackctl on its own terminal and types one of these lines after each prompt; returns what the
  /// terminal shows.
  static Output onTerminal(const std::string& arguments, const std::vector<std::string>& lines) {
    int terminal = -1;
    const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
    if (child == 0) {
      const auto command = std::string(FALLBACKCTL) + " " + arguments;
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    Output output;
    auto next = lines.begin();
    std::array<char, 256> buffer{};
    for (ssize_t got = 0; (got = ::read(terminal, buffer.data(), buffer.size())) > 0;) {
      output.text.append(buffer.data(), static_cast<std::size_t>(got));
      if (next == lines.end() || !output.text.ends_with(": ")) continue;
      EXPECT_EQ(::write(terminal, next->data(), next->size()), static_cast<ssize_t>(next->size()));
      ++next;
    }
    ::close(terminal);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    output.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return output;
  }
};

TEST_F(EncryptedKey, OpensWithAFileOrAVariable) {
  const auto made = ctl("keygen --encrypt --passphrase-file " + path("pass") + " --out " + path("e"));
  ASSERT_EQ(made.code, 0) << made.text;
  EXPECT_EQ(test::readBytes(path("e.key")).find("-----BEGIN ENCRYPTED PRIVATE KEY-----"), 0U);
  EXPECT_EQ(shell("openssl pkey -in " + path("e.key") + " -passin file:" + path("pass") + " -noout").code, 0);
  EXPECT_EQ(signWith("", "--passphrase-file " + path("pass")).code, 0);
  EXPECT_EQ(signWith("FALLBACKD_KEY_PASSPHRASE='correct horse'").code, 0);
  std::filesystem::copy_file(path("e.pub"), path("keys/e.pub"));
  EXPECT_EQ(ctl("verify" + where + "--bundle " + path("a.json") + " " + kProgram).code, 0);
  const auto wrong = signWith("FALLBACKD_KEY_PASSPHRASE=wrong");
  EXPECT_EQ(wrong.code, 1);
  EXPECT_TRUE(says(wrong, "is not opened by this passphrase")) << wrong.text;
  const auto none = signWith("");
  EXPECT_EQ(none.code, 2);
  EXPECT_TRUE(says(none, "there is no terminal; use --passphrase-file or the variable")) << none.text;
  EXPECT_EQ(signWith("", "--passphrase x").code, 2) << "everyone on the machine could read it";
}

TEST_F(EncryptedKey, OpensSslsOwnAreAccepted) {
  ASSERT_EQ(shell("openssl genpkey -algorithm ED25519 -aes256 -pass file:" + path("pass") + " -out " +
                  path("e.key"))
                .code,
            0);
  const auto output = signWith("", "--passphrase-file " + path("pass"));
  EXPECT_EQ(output.code, 0) << output.text;
}

TEST_F(EncryptedKey, IsAskedForOnTheTerminalWithoutEcho) {
  const auto made = onTerminal("keygen --encrypt --out " + path("e"), {"battery\n", "battery\n"});
  ASSERT_EQ(made.code, 0) << made.text;
  EXPECT_TRUE(says(made, "the same again: ")) << made.text;
  EXPECT_FALSE(says(made, "battery")) << made.text;
  const std::string arguments = "sign --key " + path("e.key") +
                                " --name checkout --version 1.8.3 --expires 30d --force --out " +
                                path("a.json") + " " + kProgram;
  const auto good = onTerminal(arguments, {"battery\n"});
  EXPECT_EQ(good.code, 0) << good.text;
  EXPECT_FALSE(says(good, "battery")) << good.text;
  EXPECT_EQ(onTerminal(arguments, {"wrong\n"}).code, 1);
  EXPECT_EQ(onTerminal(arguments, {"\n"}).code, 2) << "an empty passphrase";
  const auto unended = onTerminal(arguments, {"battery\x04"});
  EXPECT_EQ(unended.code, 0) << "Ctrl-D instead of Return: " << unended.text;
  // Ctrl-C restores the echo: the shell on the same terminal shows what is typed next.
  const auto stopped = onTerminal(arguments + "; stty -a", {"batt\x03"});
  EXPECT_TRUE(says(stopped, "cancelled")) << stopped.text;
  EXPECT_TRUE(says(stopped, " echo ")) << stopped.text;
  EXPECT_EQ(onTerminal("keygen --encrypt --out " + path("f"), {"one\n", "two\n"}).code, 2)
      << "the passphrases differ";
  EXPECT_FALSE(std::filesystem::exists(path("f.key")));
}

/// The commands of docs/packs.md, word for word.
std::string typed(const std::string& name) {
  const auto text = test::readBytes(PACKS_DOCUMENT);
  const auto mark = text.find("<!-- typed: " + name + " -->");
  const auto begin = text.find("```\n", mark);
  const auto end = text.find("\n```", begin);
  if (mark == std::string::npos || end == std::string::npos) return "false  # not in the document";
  return text.substr(begin + 4, end - begin - 4);
}

struct RotationTest : SignTest {
  void SetUp() override {
    SignTest::SetUp();
    if (IsSkipped()) return;
    std::filesystem::rename(path("k.key"), path("shop.key"));
    std::filesystem::rename(path("keys/k.pub"), path("keys/shop.pub"));
    std::filesystem::create_directory(path("pack"));
    std::filesystem::copy_file(kProgram, path("pack/checkout-v1.8.3"));
    ASSERT_EQ(run("fallbackctl sign --key shop.key --name checkout --version 1.8.3 --expires 30d "
                  "pack/checkout-v1.8.3 && fallbackctl install $where --keys keys --from pack")
                  .code,
              0);
  }
  [[nodiscard]] Output run(const std::string& commands) const {
    const auto tools = std::filesystem::path(FALLBACKCTL).parent_path().string();
    test::writeBytes(path("commands"), "cd " + folder.path() + "\nexport PATH=" + tools +
                                           ":$PATH FALLBACKD_KEY_PASSPHRASE=x\n"
                                           "where=\"--cache cache --state state\"\nset -e\n" +
                                           commands + "\n");
    return shell("bash " + path("commands"));
  }
};

TEST_F(RotationTest, TheDocumentsCommandsReplaceTheKey) {
  const auto output = run(typed("rotation"));
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_FALSE(std::filesystem::exists(path("keys/shop.pub")));
  EXPECT_EQ(run("fallbackctl verify $where --keys keys checkout@1.8.3").code, 0);
}

TEST_F(RotationTest, TheOldKeyIsNeededUntilEverythingIsSignedAgain) {
  EXPECT_EQ(run("fallbackctl keygen --out new; mkdir only-new; cp new.pub only-new/; cp new.pub keys/").code,
            0);
  EXPECT_EQ(run("fallbackctl verify $where --keys keys").code, 0) << "two keys are trusted";
  EXPECT_EQ(run("fallbackctl verify $where --keys only-new").code, 1);
}

TEST_F(SignTest, AKeyOfCosignIsRefusedWithAdvice) {
  test::writeBytes(path("k.key"),
                   "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n"
                   "-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
                   0600);
  const auto output = sign(kProgram);
  EXPECT_EQ(output.code, 1);
  EXPECT_TRUE(says(output, "cosign attest-blob --key")) << output.text;
}

}  // namespace
}  // namespace fallbackd
