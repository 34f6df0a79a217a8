// SPDX-License-Identifier: Apache-2.0
#include "workers/serve.hpp"

#include "sys/helper_program.hpp"
#include "sys/message_socket.hpp"

#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fallbackd::workers {

int serve(const Perform& perform) {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(sys::kHelperSocket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET)
    return 2;
  ::close_range(sys::kHelperSocket + 1, ~0U, 0);
  ::fcntl(sys::kHelperSocket, F_SETFD, FD_CLOEXEC);
  ::umask(0022);
  // A worker ends with its daemon: between a write to a log and the moment at which these bytes leave the
  // FIFO, the next daemon's worker must not read them.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const sys::UniqueFd socket(sys::kHelperSocket);
  for (;;) {
    auto message = sys::receiveMessage(socket, false);
    if (!message || message->bytes.empty()) return message ? 0 : 1;
    const auto question = decodeQuestion(message->bytes);
    auto outcome = question ? perform(*question, std::move(message->fds))
                            : Result<Outcome>(tl::unexpected<Error>(question.error()));
    std::vector<int> numbers;
    if (outcome) {
      for (const auto& fd : outcome->fds) numbers.push_back(fd.get());
    }
    const auto answer = encodeAnswer(outcome ? Result<std::string>(std::move(outcome->bytes))
                                             : Result<std::string>(tl::unexpected<Error>(outcome.error())));
    auto sent = sys::sendMessage(socket, answer, numbers, false);
    if (!sent && sent.error().reason == Reason::too_large) {
      sent = sys::sendMessage(socket, encodeAnswer(tl::unexpected<Error>(sent.error())), {}, false);
    }
    if (!sent) return 1;
  }
}

}  // namespace fallbackd::workers
