// SPDX-License-Identifier: Apache-2.0
#include "launcher/logs/log_copy.hpp"

#include "launcher/logs/cri_log.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::launcher {

namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;

/// Peeked bytes pass through here.
struct Peephole {
  sys::UniqueFd in;
  sys::UniqueFd out;
  std::array<char, kPieceBytes> buffer{};

  static Result<Peephole*> get() {
    static thread_local Peephole peephole;
    if (peephole.in) return &peephole;
    FB_TRY(auto pipe, sys::makePipe(Stage::logs));
    peephole.out = std::move(pipe.read);
    peephole.in = std::move(pipe.write);
    return &peephole;
  }
};

/// Reads exactly `size` available bytes; false if they are not there, contrary to what the kernel promises.
bool readWhole(int fd, char* to, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = ::read(fd, to + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

/// The first `most` lines; `lines` is their number.
std::string_view firstLines(std::string_view bytes, std::uint32_t most, std::uint32_t& lines) {
  std::size_t end = 0;
  for (lines = 0; lines < most; ++lines) {
    const auto newline = bytes.find('\n', end);
    if (newline == std::string_view::npos) break;
    end = newline + 1;
  }
  return bytes.substr(0, end);
}

}  // namespace

Result<CopiedLog> copyLog(const CopyLogQuestion& question, const sys::UniqueFd& fifo) {
  FB_TRY(auto* const peephole, Peephole::get());
  auto& buffer = peephole->buffer;
  CopiedLog copied;
  const auto most = std::min<std::size_t>(buffer.size(), question.maxBytes);
  const ssize_t size = ::tee(fifo.get(), peephole->in.get(), most, SPLICE_F_NONBLOCK);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return copied;
  if (size < 0) return failErrno(Stage::logs, "look into a FIFO");
  if (size == 0) {
    copied.left = CopiedLog::Left::nothing;
    return copied;
  }
  if (!readWhole(peephole->out.get(), buffer.data(), static_cast<std::size_t>(size))) {
    return failErrno(Stage::logs, "read peeked bytes");
  }
  const std::string_view there(buffer.data(), static_cast<std::size_t>(size));
  auto bytes = firstLines(there, std::max<std::uint32_t>(question.maxLines, 1), copied.lines);
  if (bytes.empty()) {
    const bool longEnough = there.size() >= std::min(CriLogFramer::kMaxContent, most);
    if (question.ends == LineEnds::whole_lines && !longEnough) {
      copied.left = CopiedLog::Left::part;
      return copied;
    }
    bytes = there;
    copied.lines = 1;
  }
  // Without a file the lines are lost, as on a full disk: the process matters more.
  if (auto file = LogFile::openAgain(question.path, question.limits)) {
    file->write(CriLogFramer(question.stream).frame(bytes, Clock::system().wall()));
  }
  copied.bytes = static_cast<std::uint32_t>(bytes.size());
  if (!readWhole(fifo.get(), buffer.data(), bytes.size())) return failErrno(Stage::logs, "empty a FIFO");
  return copied;
}

CopiedLog dropLog(int fifo, std::uint32_t maxBytes) {
  std::array<char, 16 * 1024> buffer{};
  CopiedLog dropped;
  while (dropped.bytes < maxBytes) {
    const ssize_t got =
        ::read(fifo, buffer.data(), std::min<std::size_t>(buffer.size(), maxBytes - dropped.bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) dropped.left = CopiedLog::Left::nothing;
    if (got <= 0) break;
    dropped.bytes += static_cast<std::uint32_t>(got);
  }
  return dropped;
}

Result<sys::UniqueFd> openFifoAt(const sys::UniqueFd& folder, const std::string& name,
                                 const std::string& what, int flags) {
  sys::UniqueFd fifo(::openat(folder.get(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
  if (!fifo) {
    const auto reason = errno == ENOENT ? Reason::not_found : Reason::system;
    return fail(Stage::logs, reason, "open FIFO " + what, errno);
  }
  struct stat info {};
  if (::fstat(fifo.get(), &info) != 0 || !S_ISFIFO(info.st_mode)) {
    return fail(Stage::logs, Reason::unsafe_file_type, what + " is not a FIFO");
  }
  return fifo;
}

}  // namespace fallbackd::launcher
