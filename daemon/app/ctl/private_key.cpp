// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/private_key.hpp"

#include "sys/fd.hpp"
#include "sys/file.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <termios.h>
#include <unistd.h>
#include <utility>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

namespace {

constexpr std::size_t kMaxPassphrase = 1024;
constexpr char kInterrupt = '\x03';

/// A terminal that does not show what is typed, until the object ends. Ctrl-C ends the line instead of the
/// process, which would leave the terminal like this.
class WithoutEcho {
 public:
  explicit WithoutEcho(const sys::UniqueFd& terminal) : terminal_(terminal) {
    if (::tcgetattr(terminal_.get(), &before_) != 0) return;
    auto quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    quiet.c_cc[VEOL] = static_cast<cc_t>(kInterrupt);
    quiet_ = ::tcsetattr(terminal_.get(), TCSAFLUSH, &quiet) == 0;
  }
  WithoutEcho(const WithoutEcho&) = delete;
  WithoutEcho& operator=(const WithoutEcho&) = delete;
  ~WithoutEcho() {
    if (quiet_) ::tcsetattr(terminal_.get(), TCSAFLUSH, &before_);
  }
  [[nodiscard]] bool quiet() const { return quiet_; }

 private:
  const sys::UniqueFd& terminal_;
  termios before_{};
  bool quiet_ = false;
};

Result<std::string> askOnTerminal(const std::string& question) {
  const sys::UniqueFd terminal(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal) {
    return fail(Stage::cli, Reason::usage,
                question + ": there is no terminal; use --passphrase-file or the variable " +
                    std::string(kPassphraseVariable));
  }
  const WithoutEcho hidden(terminal);
  if (!hidden.quiet()) return failErrno(Stage::cli, "turn off the terminal's echo");
  FB_CHECK(sys::writeAll(Stage::cli, terminal, question + ": ", "the terminal"));
  std::string line(kMaxPassphrase, '\0');
  ssize_t got = 0;
  while ((got = ::read(terminal.get(), line.data(), line.size())) < 0 && errno == EINTR) {
  }
  if (got < 0) return failErrno(Stage::cli, "read from the terminal");
  FB_CHECK(sys::writeAll(Stage::cli, terminal, "\n", "the terminal"));
  line.resize(static_cast<std::size_t>(got));
  if (line.empty() || line.back() == kInterrupt) return fail(Stage::cli, Reason::cancelled, question);
  if (line.back() == '\n') line.pop_back();  // Ctrl-D after some text ends a line without one
  return line;
}

Result<std::string> fromTerminal(const std::string& what, Ask ask) {
  FB_TRY(auto typed, askOnTerminal("passphrase of " + what));
  if (ask == Ask::once) return typed;
  FB_TRY(const auto again, askOnTerminal("the same again"));
  if (typed != again) return fail(Stage::cli, Reason::usage, "the two passphrases differ");
  return typed;
}

Result<std::string> givenPassphrase(const std::optional<std::string>& file, const std::string& what,
                                    Ask ask) {
  if (file) {
    FB_TRY(const auto text, sys::readFile(Stage::cli, *file, kMaxPassphrase));
    return text.substr(0, text.find_first_of("\r\n"));
  }
  const char* const set = std::getenv(kPassphraseVariable);  // NOLINT(concurrency-mt-unsafe): one thread
  if (set != nullptr) return std::string(set);
  return fromTerminal(what, ask);
}

}  // namespace

void PrivateKeyOptions::addTo(CLI::App& command) {
  command.add_option("--key", file, "private key, as keygen makes it")->required();
  command.add_option("--passphrase-file", passphraseFile,
                     "the first line of this file opens an encrypted key; without it, the variable " +
                         std::string(kPassphraseVariable) + " does, or you are asked");
}

Result<std::string> passphraseOf(const std::optional<std::string>& file, const std::string& what, Ask ask) {
  FB_TRY(auto text, givenPassphrase(file, what, ask));
  if (text.empty()) return fail(Stage::cli, Reason::usage, "the passphrase of " + what + " is empty");
  return text;
}

Result<cache::PrivateKey> readPrivateKey(const PrivateKeyOptions& options) {
  constexpr std::size_t kMaxKey = 65536;
  FB_TRY(const auto pem, sys::readFile(Stage::cli, options.file, kMaxKey));
  return cache::PrivateKey::parse(
      pem, options.file, [&] { return passphraseOf(options.passphraseFile, options.file, Ask::once); });
}

}  // namespace fallbackd::ctl
