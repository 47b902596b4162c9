"""The rules of a conversation once more, a token and a list at a time: what the compiled ones are tested against."""

from collections import deque

import numpy as np

from lit_retrieval.conversation import UNDECIDED, Author, Reply
from lit_retrieval.vocabulary import END_SEARCH, FAILED, START_SEARCH


class NaiveConversation:
    def __init__(self, turns, answer_tokens, retriever, vocabulary, max_new_tokens, num_answers):
        self.turns, self.waiting = deque(turns), deque()
        self.answer_tokens, self.retriever, self.vocabulary = answer_tokens, retriever, vocabulary
        self.limit, self.num_answers = len(self.turns[0]) + max_new_tokens, num_answers
        self.tokens, self.author, self.answers, self.visible, self.query = [], [], [], [], None
        self.searches = self.timeouts = 0
        self.begin_turn()

    def begin_turn(self):
        if self.turns:
            self.waiting.extend((token, Author.PROMPT) for token in self.turns.popleft().tolist())

    @property
    def is_finished(self):
        return len(self.answers) == self.num_answers or len(self.tokens) >= self.limit

    def step(self, choice):
        token, author = self.waiting.popleft() if self.waiting else (choice, Author.MODEL)
        self.tokens.append(token)
        self.author.append(author)
        if author == Author.RETRIEVER:
            self.visible += [] if self.waiting else [END_SEARCH]
        elif token == START_SEARCH:
            self.visible += self.query or []
            self.query = []
        elif token == END_SEARCH:
            query, self.query = self.query or [], None
            if author == Author.MODEL:
                self.search(np.array(query, np.int32))
        elif self.query is not None:
            self.query.append(token)
        else:
            self.visible.append(token)
            if author == Author.MODEL and token in self.answer_tokens:
                self.answers.append(token)
                self.begin_turn()
        return token

    def search(self, query):
        self.searches += 1
        try:
            found = self.retriever(np.array(self.visible, np.int32), query, self.vocabulary).tolist()
        except TimeoutError:
            self.timeouts += 1
            found = [FAILED]
        self.waiting.extend((token, Author.RETRIEVER) for token in found)

    def reply(self):
        answers = self.answers + [UNDECIDED] * (self.num_answers - len(self.answers))
        return Reply(self.tokens, self.author, answers, self.searches, self.timeouts)
